//! The envelope around every file of ours: named sections, each with its checksum, in one
//! file that is mapped rather than parsed.
//!
//! Opening reads the header and the table, some hundred bytes, and checks them. A section
//! is held against its checksum when it is first asked for, so that a bundle of 300 MB
//! opens at once and a classifier never touches the text encoder that it does not need.
//! Nothing is repaired here and nothing guessed: a file that differs in one bit from what
//! was written is refused. The checksums find accidents, not forgeries.

use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::builder::Builder;
use super::fs;
use super::layout::{self, Entry, HEADER_LEN, Header, Kind, Stamp};
use super::map;
use crate::error::{Error, Result};

/// The largest file that [`Envelope::read`] takes into memory, in bytes.
pub const READ_LIMIT: u64 = 1 << 30;

/// An opened file of ours. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Envelope(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    bytes: Mmap,
    header: Header,
    table: Vec<Entry>,
    /// By section: its checksum was compared and fits.
    checked: Vec<AtomicBool>,
}

/// One section, as [`Envelope::sections`] lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it begins in the file, a multiple of 64.
    pub offset: usize,
    /// Its length.
    pub len_bytes: usize,
    /// Its CRC-32 as the table states it.
    pub checksum: u32,
}

impl Envelope {
    /// Begins a new envelope.
    #[must_use]
    pub fn builder<'a>(kind: Kind) -> Builder<'a> {
        Builder::new(kind)
    }

    /// Opens a file by mapping it: for bundles, whose weights stay in the map. While it is
    /// open the file may be replaced by rename, as [`replace`](super::replace) does it, but
    /// not cut short in place, which would end the process.
    ///
    /// # Errors
    /// What cannot be read, is no envelope, is of another kind or a newer version, or is
    /// damaged in header or table; always naming the file.
    pub fn open(path: &Path, kind: Kind) -> Result<Self> {
        let (mut file, len) = fs::open_regular(path)?;
        peek(&mut file, len, path)?;
        let bytes = map::map(&file).map_err(|e| Error::io(path, "map", e))?;
        Self::parse(bytes, Some(kind)).map_err(|e| e.at(path))
    }

    /// Reads a file into memory and checks all of it: for classifiers, which are small and
    /// may be written over by other programs while we hold them.
    ///
    /// # Errors
    /// As [`Envelope::open`], and damage anywhere, and files beyond [`READ_LIMIT`].
    pub fn read(path: &Path, kind: Kind) -> Result<Self> {
        let (mut file, len) = fs::open_regular(path)?;
        let envelope = Self::load(&mut file, len, Some(kind), path).map_err(|e| e.at(path))?;
        envelope.verify().map_err(|e| e.at(path))?;
        Ok(envelope)
    }

    /// Takes an envelope from memory. Sections are checked when first asked for.
    ///
    /// # Errors
    /// As [`Envelope::open`], naming no file.
    pub fn from_bytes(bytes: impl AsRef<[u8]>, kind: Kind) -> Result<Self> {
        let mut bytes = bytes.as_ref();
        let len = bytes.len() as u64;
        Self::load(&mut bytes, len, Some(kind), Path::new("memory"))
    }

    /// Reads `len` bytes, of this kind or of any; nothing is asked for before the header fits.
    pub(super) fn load(
        from: &mut dyn Read,
        len: u64,
        kind: Option<Kind>,
        path: &Path,
    ) -> Result<Self> {
        let failed = |e| Error::io(path, "read", e);
        let start = read_start(from).map_err(failed)?;
        layout::parse_header(&start, len)?;
        if len > READ_LIMIT {
            return Err(Error::Limit {
                what: "bytes to read into memory",
                found: len,
                limit: READ_LIMIT,
            });
        }
        let bytes = map::read(&mut start.chain(from), len as usize).map_err(failed)?;
        Self::parse(bytes, kind)
    }

    fn parse(bytes: Mmap, kind: Option<Kind>) -> Result<Self> {
        let header = layout::parse_header(&bytes, bytes.len() as u64)?;
        if let Some(kind) = kind.filter(|&kind| kind != header.kind) {
            return Err(Error::invalid(
                "file",
                header.kind.to_string(),
                kind.to_string(),
            ));
        }
        let table = layout::parse_table(&bytes, &header)?;
        let checked = table.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self(Arc::new(Opened {
            bytes,
            header,
            table,
            checked,
        })))
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.header.kind
    }

    /// Which saved state this is; give it to [`Saver::save`](super::Saver::save) to save over it.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.0.header.stamp
    }

    /// Its length as a file.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.0.bytes.len()
    }

    /// All sections in file order.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = SectionInfo<'_>> {
        self.0.table.iter().map(|entry| SectionInfo {
            name: &entry.name,
            offset: entry.range.start,
            len_bytes: entry.range.len(),
            checksum: entry.crc,
        })
    }

    /// Whether there is a section of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.table.iter().any(|entry| entry.name == name)
    }

    /// The bytes of a section, which begin at a multiple of 64 in memory too. The first
    /// call compares its checksum and so reads all of it.
    ///
    /// # Errors
    /// No such section, or damage in it.
    pub fn section(&self, name: &str) -> Result<&[u8]> {
        let entry = &self.0.table[self.checked_index(name)?];
        Ok(&self.0.bytes[entry.range.clone()])
    }

    /// As [`Envelope::section`], as a handle that keeps the file open by itself.
    ///
    /// # Errors
    /// No such section, or damage in it.
    pub fn section_ref(&self, name: &str) -> Result<SectionRef> {
        let range = self.0.table[self.checked_index(name)?].range.clone();
        let memory = Memory::File(Arc::clone(&self.0));
        Ok(SectionRef { memory, range })
    }

    /// Compares all checksums that were not compared yet.
    ///
    /// # Errors
    /// The first damage found.
    pub fn verify(&self) -> Result<()> {
        (0..self.0.table.len()).try_for_each(|index| self.check(index))
    }

    /// SHA-256 of the whole file, by reading all of it.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.0.bytes).into()
    }

    fn checked_index(&self, name: &str) -> Result<usize> {
        let Some(index) = self.0.table.iter().position(|entry| entry.name == name) else {
            let there: Vec<_> = self.sections().map(|s| s.name).collect();
            let expected = format!("{name:?}: is the file of another version?");
            return Err(Error::invalid("sections", there.join(", "), expected));
        };
        self.check(index)?;
        Ok(index)
    }

    fn check(&self, index: usize) -> Result<()> {
        let (entry, file) = (&self.0.table[index], &self.0.bytes);
        // Two threads may both compare; they come to the same answer.
        if self.0.checked[index].load(Ordering::Acquire) {
            return Ok(());
        }
        let part = format!("section {:?}", entry.name);
        layout::check_crc(&part, &file[entry.range.clone()], entry.crc)?;
        let next = self.0.table.get(index + 1);
        let padding = entry.range.end..next.map_or(file.len(), |next| next.range.start);
        if file[padding].iter().any(|&b| b != 0) {
            return Err(layout::damaged(&part, "data in the padding", "zeros"));
        }
        self.0.checked[index].store(true, Ordering::Release);
        Ok(())
    }
}

/// A section that keeps its file open; derefs to its bytes. Clones are cheap.
#[derive(Debug, Clone)]
pub struct SectionRef {
    memory: Memory,
    range: Range<usize>,
}

#[derive(Debug, Clone)]
enum Memory {
    File(Arc<Opened>),
    #[cfg(feature = "import")]
    Own(Arc<Mmap>),
}

impl Deref for SectionRef {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes = match &self.memory {
            Memory::File(opened) => &opened.bytes,
            #[cfg(feature = "import")]
            Memory::Own(bytes) => bytes,
        };
        &bytes[self.range.clone()]
    }
}

impl SectionRef {
    /// A section that is in no file yet: a copy of `bytes` that begins at a page.
    ///
    /// # Errors
    /// The system gives no memory.
    #[cfg(feature = "import")]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self> {
        let memory = map::read(&mut &bytes[..], bytes.len());
        let memory = memory.map_err(|e| Error::io(Path::new("memory"), "reserve", e))?;
        Ok(Self {
            memory: Memory::Own(Arc::new(memory)),
            range: 0..bytes.len(),
        })
    }

    /// The section as floats, where it lies.
    ///
    /// # Errors
    /// A length that is no multiple of four bytes.
    pub fn f32s(&self) -> Result<&[f32]> {
        map::f32s(self).ok_or_else(|| {
            let found = format!("{} bytes", self.len());
            Error::invalid("section of floats", found, "a multiple of 4 bytes")
        })
    }

    /// The section as signed bytes, where it lies.
    #[must_use]
    pub fn i8s(&self) -> &[i8] {
        map::i8s(self)
    }
}

impl Stamp {
    /// The stamp of the file at `path`, from its first 64 bytes alone; cheap enough to ask
    /// every second whether a file was replaced.
    ///
    /// # Errors
    /// What cannot be read, is no envelope, or is damaged in its header.
    pub fn read(path: &Path) -> Result<Self> {
        let (mut file, len) = fs::open_regular(path)?;
        Ok(peek(&mut file, len, path)?.stamp)
    }
}

/// Reads no more than the header, so that a strange file costs nothing.
pub(super) fn peek(file: &mut dyn Read, len: u64, path: &Path) -> Result<Header> {
    let start = read_start(file).map_err(|e| Error::io(path, "read", e))?;
    layout::parse_header(&start, len).map_err(|e| e.at(path))
}

fn read_start(file: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(HEADER_LEN);
    file.take(HEADER_LEN as u64).read_to_end(&mut start)?;
    Ok(start)
}
