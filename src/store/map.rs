//! Files as memory: mapped where they are large, read whole where they are small. Either
//! way the bytes begin at a page, so that what the file aligns is aligned in memory.
//!
//! The only unsafe code of the store lies here. A mapped file must keep its length: if
//! another process cuts it short, touching the lost part ends this one with SIGBUS.
//! Nothing in this crate writes to a file in place; they are replaced by rename, which
//! leaves a map of the old file whole. Copying another file over a mapped one with `cp`
//! breaks that rule, which is why classifiers, which people copy about, are read, not mapped.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};

use memmap2::{Mmap, MmapMut};

/// Maps a whole file. It must be a regular file and not empty.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and the file is not changed while it lives: files are
    // replaced by rename, never written in place. Should someone else cut it short all
    // the same, the process ends with SIGBUS; it never reads foreign memory.
    unsafe { Mmap::map(file) }
}

/// Reads `len` bytes into memory that begins at a page.
pub(super) fn read(from: &mut dyn Read, len: usize) -> io::Result<Mmap> {
    let mut memory = MmapMut::map_anon(len)?;
    from.read_exact(&mut memory)?;
    memory.make_read_only()
}

/// The same bytes as little-endian floats, or `None` where length or address do not fit.
pub(crate) fn f32s(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: every four bytes are some f32; align_to gives only whole, aligned values.
    let (before, values, after) = unsafe { bytes.align_to::<f32>() };
    (before.is_empty() && after.is_empty()).then_some(values)
}

/// The same for whole numbers.
pub(crate) fn i32s(bytes: &[u8]) -> Option<&[i32]> {
    // SAFETY: every four bytes are some i32; align_to gives only whole, aligned values.
    let (before, values, after) = unsafe { bytes.align_to::<i32>() };
    (before.is_empty() && after.is_empty()).then_some(values)
}

/// The same bytes as signed ones.
pub(crate) fn i8s(bytes: &[u8]) -> &[i8] {
    // SAFETY: u8 and i8 have the same size and alignment, and every byte is some i8.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

#[cfg(target_endian = "big")]
compile_error!("envelopes hold little-endian numbers, which are used as they lie");
