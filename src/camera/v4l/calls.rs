//! Calls to the kernel's video interface, as safe functions of plain values: the one file of the
//! camera that is not safe code. The crate's own streams are passed over: they panic when a camera
//! is pulled out, and its conversions panic on names and numbers that a driver makes up.

#![allow(unsafe_code)]

use std::io;
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};
use v4l::device::Handle;
use v4l::v4l_sys as sys;
use v4l::v4l2::{self, vidioc};

use crate::camera::offer::{Rate, Rates, Sizes};

const CAPTURE: u32 = sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
const MAPPED: u32 = sys::v4l2_memory_V4L2_MEMORY_MMAP;
/// Entries of one list of a driver that are believed; real ones have some dozens.
const MOST_ENTRIES: u32 = 512;

/// Structs of the kernel that are numbers alone: any bytes make one, zeros too.
trait Plain: Copy {}
impl Plain for sys::v4l2_capability {}
impl Plain for sys::v4l2_fmtdesc {}
impl Plain for sys::v4l2_frmsizeenum {}
impl Plain for sys::v4l2_frmivalenum {}
impl Plain for sys::v4l2_format {}
impl Plain for sys::v4l2_streamparm {}
impl Plain for sys::v4l2_requestbuffers {}
impl Plain for sys::v4l2_buffer {}
impl Plain for u32 {}

fn zeros<T: Plain>() -> T {
    // SAFETY: `Plain` types are numbers and unions of numbers; all zeros is a value of each.
    unsafe { std::mem::zeroed() }
}

/// One call, made again when a signal came between.
fn call<T: Plain>(node: &Handle, request: vidioc::_IOC_TYPE, value: &mut T) -> io::Result<()> {
    // A request states the size of its struct in 14 bits.
    assert_eq!(request as usize >> 16 & 0x3fff, size_of::<T>());
    loop {
        // SAFETY: the kernel reads and writes as many bytes as the request states, which is the
        // size of `value`, checked above; it is borrowed for the whole call.
        let done = unsafe { v4l2::ioctl(node.fd(), request, std::ptr::from_mut(value).cast()) };
        match done {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Entries of a list until the driver says that there are no more.
fn entries<T: Plain>(
    node: &Handle,
    request: vidioc::_IOC_TYPE,
    at: impl Fn(u32) -> T,
) -> impl Iterator<Item = T> {
    (0..MOST_ENTRIES).map_while(move |index| {
        let mut entry = at(index);
        call(node, request, &mut entry).ok().map(|()| entry)
    })
}

/// Text of a driver, whatever bytes it holds.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

/// What a node says of itself.
pub(super) struct Card {
    pub(super) card: String,
    pub(super) driver: String,
    pub(super) bus: String,
    /// Bits `V4L2_CAP_…` of this very node.
    pub(super) can: u32,
}

pub(super) fn card(node: &Handle) -> io::Result<Card> {
    let mut told: sys::v4l2_capability = zeros();
    call(node, vidioc::VIDIOC_QUERYCAP, &mut told)?;
    let own = told.capabilities & sys::V4L2_CAP_DEVICE_CAPS != 0;
    Ok(Card {
        card: text(&told.card),
        driver: text(&told.driver),
        bus: text(&told.bus_info),
        can: if own {
            told.device_caps
        } else {
            told.capabilities
        },
    })
}

/// Fourcc and name of each form of pixels.
pub(super) fn formats(node: &Handle) -> Vec<([u8; 4], String)> {
    let at = |index| sys::v4l2_fmtdesc {
        index,
        type_: CAPTURE,
        ..zeros()
    };
    entries(node, vidioc::VIDIOC_ENUM_FMT, at)
        .map(|f| (f.pixelformat.to_le_bytes(), text(&f.description)))
        .collect()
}

/// Sizes of one form of pixels, each with its rates.
pub(super) fn sizes(node: &Handle, fourcc: [u8; 4]) -> Vec<Sizes> {
    let pixel_format = u32::from_le_bytes(fourcc);
    let at = |index| sys::v4l2_frmsizeenum {
        index,
        pixel_format,
        ..zeros()
    };
    let known = |entry: sys::v4l2_frmsizeenum| {
        let one = entry.type_ == sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE;
        if one {
            // SAFETY: the type says that this member was written; both are numbers anyway.
            let size = unsafe { entry.__bindgen_anon_1.discrete };
            let size = (size.width, size.height);
            let rates = rates(node, pixel_format, size);
            return Sizes::One { size, rates };
        }
        // SAFETY: as above, of the other two types.
        let s = unsafe { entry.__bindgen_anon_1.stepwise };
        let most = (s.max_width, s.max_height);
        Sizes::Range {
            least: (s.min_width, s.min_height),
            most,
            step: (s.step_width.max(1), s.step_height.max(1)),
            rates: rates(node, pixel_format, most),
        }
    };
    entries(node, vidioc::VIDIOC_ENUM_FRAMESIZES, at)
        .map(known)
        .collect()
}

fn rates(node: &Handle, pixel_format: u32, (width, height): (u32, u32)) -> Rates {
    let at = |index| sys::v4l2_frmivalenum {
        index,
        pixel_format,
        width,
        height,
        ..zeros()
    };
    let mut each = Vec::new();
    for entry in entries(node, vidioc::VIDIOC_ENUM_FRAMEINTERVALS, at) {
        if entry.type_ == sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE {
            // SAFETY: the type says that this member was written; both are numbers anyway.
            each.extend(rate(unsafe { entry.__bindgen_anon_1.discrete }));
            continue;
        }
        // SAFETY: as above, of the other two types.
        let range = unsafe { entry.__bindgen_anon_1.stepwise };
        // The longest time between frames is the slowest rate.
        if let (Some(slow), Some(fast)) = (rate(range.max), rate(range.min)) {
            return Rates::Between(slow, fast);
        }
    }
    Rates::Each(each)
}

/// A rate of a time between frames, where it is one.
fn rate(time: sys::v4l2_fract) -> Option<Rate> {
    (time.numerator > 0 && time.denominator > 0).then_some(Rate {
        frames: time.denominator,
        seconds: time.numerator,
    })
}

/// How pixels come, as the driver set it.
pub(super) struct Form {
    pub(super) size: (u32, u32),
    pub(super) fourcc: [u8; 4],
    /// Bytes from row to row; 0 where the form has no rows.
    pub(super) stride: usize,
    pub(super) colorspace: u32,
    /// `V4L2_YCBCR_ENC_…`, 0 where the driver leaves it open.
    pub(super) encoding: u32,
    pub(super) quantization: u32,
}

/// Asks for a form; the answer is what the driver made of it.
pub(super) fn set_form(node: &Handle, fourcc: [u8; 4], size: (u32, u32)) -> io::Result<Form> {
    let mut format: sys::v4l2_format = zeros();
    format.type_ = CAPTURE;
    // The stride stays 0: one left from another form would pad the rows.
    format.fmt.pix = sys::v4l2_pix_format {
        width: size.0,
        height: size.1,
        pixelformat: u32::from_le_bytes(fourcc),
        field: sys::v4l2_field_V4L2_FIELD_NONE,
        priv_: sys::V4L2_PIX_FMT_PRIV_MAGIC,
        // SAFETY: numbers alone, as `Plain` has it.
        ..unsafe { std::mem::zeroed() }
    };
    call(node, vidioc::VIDIOC_S_FMT, &mut format)?;
    // SAFETY: the type asked for has this member; all members are numbers.
    let pix = unsafe { format.fmt.pix };
    let told = pix.priv_ == sys::V4L2_PIX_FMT_PRIV_MAGIC;
    // SAFETY: both members of this union are one number.
    let encoding = unsafe { pix.__bindgen_anon_1.ycbcr_enc };
    Ok(Form {
        size: (pix.width, pix.height),
        fourcc: pix.pixelformat.to_le_bytes(),
        stride: pix.bytesperline as usize,
        colorspace: pix.colorspace,
        encoding: if told { encoding } else { 0 },
        quantization: if told { pix.quantization } else { 0 },
    })
}

/// Asks for a rate, where one is named; the answer is the rate in force, where the driver tells.
pub(super) fn set_rate(node: &Handle, wanted: Option<Rate>) -> Option<Rate> {
    let mut parm: sys::v4l2_streamparm = zeros();
    parm.type_ = CAPTURE;
    call(node, vidioc::VIDIOC_G_PARM, &mut parm).ok()?;
    // SAFETY: the type asked for has this member; all members are numbers.
    let mut capture = unsafe { parm.parm.capture };
    if let Some(rate) = wanted
        && capture.capability & sys::V4L2_CAP_TIMEPERFRAME != 0
    {
        capture.timeperframe = sys::v4l2_fract {
            numerator: rate.seconds,
            denominator: rate.frames,
        };
        parm.parm.capture = capture;
        call(node, vidioc::VIDIOC_S_PARM, &mut parm).ok()?;
        // SAFETY: as above.
        capture = unsafe { parm.parm.capture };
    }
    rate(capture.timeperframe)
}

/// Memory of one buffer that the driver writes frames into.
pub(super) struct Map(MmapRaw);

impl Map {
    /// The bytes of a buffer that was taken and not given back.
    ///
    /// `taken` proves it: it stands for a buffer that the driver has handed over, and giving it
    /// back takes it.
    pub(super) fn bytes(&self, _taken: &Taken) -> &[u8] {
        // SAFETY: the map lives as long as `self`, also after the camera is gone, and the driver
        // writes only into buffers that were given to it.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), self.0.len()) }
    }
}

/// A frame that the driver has handed over.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) index: usize,
    /// Bytes that the frame has.
    pub(super) used: usize,
    pub(super) sequence: u32,
    /// The driver says that the frame is damaged.
    pub(super) damaged: bool,
    /// Time on the clock of [`Instant`], where the driver keeps it.
    pub(super) time: Option<Duration>,
}

/// Asks the driver for `count` buffers and maps what it gives.
pub(super) fn buffers(node: &Handle, count: u32) -> io::Result<Vec<Map>> {
    let given = request_buffers(node, count)?;
    (0..given).map(|index| map(node, index)).collect()
}

/// Asks for so many buffers; 0 frees them all.
pub(super) fn request_buffers(node: &Handle, count: u32) -> io::Result<u32> {
    let mut request = sys::v4l2_requestbuffers {
        count,
        type_: CAPTURE,
        memory: MAPPED,
        ..zeros()
    };
    call(node, vidioc::VIDIOC_REQBUFS, &mut request)?;
    Ok(request.count)
}

fn map(node: &Handle, index: u32) -> io::Result<Map> {
    let mut buffer = descriptor(index);
    call(node, vidioc::VIDIOC_QUERYBUF, &mut buffer)?;
    // SAFETY: buffers to be mapped have this member; all members are numbers.
    let offset = unsafe { buffer.m.offset };
    let mut options = MmapOptions::new();
    options.offset(offset.into()).len(buffer.length as usize);
    options.map_raw(node.fd()).map(Map)
}

fn descriptor(index: u32) -> sys::v4l2_buffer {
    sys::v4l2_buffer {
        index,
        type_: CAPTURE,
        memory: MAPPED,
        ..zeros()
    }
}

/// Gives a buffer to the driver, to be filled.
pub(super) fn give(node: &Handle, index: usize) -> io::Result<()> {
    call(
        node,
        vidioc::VIDIOC_QBUF,
        &mut descriptor(u32::try_from(index).unwrap_or(u32::MAX)),
    )
}

/// Takes a filled buffer; `WouldBlock` where none is ready.
pub(super) fn take(node: &Handle) -> io::Result<Taken> {
    let mut buffer = descriptor(0);
    call(node, vidioc::VIDIOC_DQBUF, &mut buffer)?;
    let clock = buffer.flags & sys::V4L2_BUF_FLAG_TIMESTAMP_MASK;
    let monotonic = clock == sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    let seconds = u64::try_from(buffer.timestamp.tv_sec).ok();
    let micros = u64::try_from(buffer.timestamp.tv_usec).ok();
    let time = seconds
        .zip(micros)
        .map(|(s, us)| Duration::from_secs(s) + Duration::from_micros(us));
    Ok(Taken {
        index: buffer.index as usize,
        used: buffer.bytesused as usize,
        sequence: buffer.sequence,
        damaged: buffer.flags & sys::V4L2_BUF_FLAG_ERROR != 0,
        time: time.filter(|t| monotonic && !t.is_zero()),
    })
}

/// Starts or stops the stream.
pub(super) fn stream(node: &Handle, on: bool) -> io::Result<()> {
    let request = if on {
        vidioc::VIDIOC_STREAMON
    } else {
        vidioc::VIDIOC_STREAMOFF
    };
    call(node, request, &mut CAPTURE.clone())
}

unsafe extern "C" {
    fn clock_gettime(clock: std::ffi::c_int, now: *mut sys::timespec) -> std::ffi::c_int;
}

/// The moment that the kernel's monotonic clock showed `time`; never later than now.
pub(super) fn moment(time: Duration) -> Instant {
    const MONOTONIC: std::ffi::c_int = 1;
    let mut now = sys::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let instant = Instant::now();
    // SAFETY: the C library's own function, writing one struct that is ours.
    let failed = unsafe { clock_gettime(MONOTONIC, &raw mut now) } != 0;
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    let now = Duration::from_secs(seconds) + Duration::from_nanos(nanos);
    let age = now.saturating_sub(time);
    // A clock of another kind shows ages of days.
    let believed = !failed && age < Duration::from_secs(60);
    let age = if believed { age } else { Duration::ZERO };
    instant.checked_sub(age).unwrap_or(instant)
}
