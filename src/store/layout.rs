//! The bytes of an envelope: header and table, to and from memory. Pure functions of
//! slices; nothing here touches a file. docs/formats.md draws the same picture.
//!
//! There is one layout for a given list of sections: each begins at the next multiple of
//! 64, in the order of the table, and the file ends where the last one does. A reader
//! that insists on this needs no separate rules for overlaps, gaps and trailing bytes.

use std::fmt;
use std::ops::Range;

use super::foreign;
use crate::error::{Error, Result};

/// The first bytes of every envelope. The high bit and the line ending are there to be
/// ruined by transfers that take the file for text, as PNG's are.
pub(super) const MAGIC: [u8; 8] = *b"\x89ECLIP\r\n";
/// The newest format version that this code reads, and the one that it writes.
pub const FORMAT_VERSION: u32 = 1;
/// The longest name of a section, in bytes.
pub const NAME_LIMIT: usize = 32;
/// The most sections that one envelope holds.
pub const SECTION_LIMIT: usize = 4096;
/// Sections begin at multiples of this many bytes, in the file and in memory.
pub const ALIGNMENT: usize = 64;

pub(super) const HEADER_LEN: usize = 64;
pub(super) const ENTRY_LEN: usize = 64;
/// Where the checksum of the header lies; it, the magic and the version never move.
const HEADER_CRC: usize = 60;

/// What an envelope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// All that is fixed: encoders, preprocessing, vocabulary; `NAME.ecmodel`.
    ModelBundle,
    /// All that is learned: classes, shots, head; `NAME.ecclass`.
    Classifier,
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Self::ModelBundle => 1,
            Self::Classifier => 2,
        }
    }

    fn from_number(number: u32) -> Result<Self> {
        match number {
            1 => Ok(Self::ModelBundle),
            2 => Ok(Self::Classifier),
            other => Err(Error::invalid(
                "kind",
                format!("number {other}"),
                "1 (a model bundle) or 2 (a classifier)",
            )),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ModelBundle => "a model bundle",
            Self::Classifier => "a classifier",
        })
    }
}

/// Tells one saved state of a file from every other: its number, and a checksum over all
/// of its content, since numbers can come again in files that were copied about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Counts the saves; 0 in files that are never saved over, as bundles are.
    pub generation: u64,
    /// The header's CRC-32. It covers the table's checksum and so every section's.
    pub checksum: u32,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.generation, self.checksum)
    }
}

/// The first 64 bytes, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) stamp: Stamp,
    pub(super) len_bytes: u64,
    pub(super) table_len: usize,
    table_crc: u32,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) range: Range<usize>,
    pub(super) crc: u32,
}

pub(super) fn damaged(part: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Damaged {
        part: part.to_owned(),
        found: found.into(),
        expected: expected.into(),
    }
}

/// Reads the header from the first bytes of a file that is `len_bytes` long.
pub(super) fn parse_header(start: &[u8], len_bytes: u64) -> Result<Header> {
    if !start.starts_with(&MAGIC) {
        return Err(Error::invalid(
            "start of the file",
            foreign::describe(start),
            "an edgeclip model bundle or classifier",
        ));
    }
    let Some(head) = start.first_chunk::<HEADER_LEN>() else {
        return Err(damaged("header", bytes(len_bytes), "at least 64 bytes"));
    };
    check_crc("header", &head[..HEADER_CRC], u32_at(head, HEADER_CRC))?;
    check_version(u32_at(head, 8))?;
    let count = u32_at(head, 32);
    if count as usize > SECTION_LIMIT {
        return Err(Error::Limit {
            what: "sections",
            found: count.into(),
            limit: SECTION_LIMIT as u64,
        });
    }
    let header = Header {
        kind: Kind::from_number(u32_at(head, 12))?,
        stamp: Stamp {
            generation: u64_at(head, 16),
            checksum: u32_at(head, HEADER_CRC),
        },
        len_bytes: u64_at(head, 24),
        table_len: count as usize * ENTRY_LEN,
        table_crc: u32_at(head, 36),
    };
    if header.len_bytes != len_bytes {
        return Err(damaged("file", bytes(len_bytes), bytes(header.len_bytes)));
    }
    if head[40..HEADER_CRC].iter().any(|&b| b != 0) {
        return Err(damaged("header", "data in reserved bytes", "zeros"));
    }
    Ok(header)
}

/// Reads the table; `file` is the whole file, as long as the header says.
pub(super) fn parse_table(file: &[u8], header: &Header) -> Result<Vec<Entry>> {
    let Some(table) = file.get(HEADER_LEN..HEADER_LEN + header.table_len) else {
        let needed = HEADER_LEN + header.table_len;
        return Err(damaged(
            "table",
            bytes(file.len() as u64),
            bytes(needed as u64),
        ));
    };
    check_crc("table", table, header.table_crc)?;
    let mut entries = Vec::<Entry>::with_capacity(table.len() / ENTRY_LEN);
    let mut end = HEADER_LEN + table.len();
    for line in table.chunks_exact(ENTRY_LEN) {
        let entry = parse_entry(line, end.next_multiple_of(ALIGNMENT), file.len())?;
        end = entry.range.end;
        entries.push(entry);
    }
    if end != file.len() {
        return Err(damaged("file", bytes(file.len() as u64), bytes(end as u64)));
    }
    check_names(entries.iter().map(|e| e.name.as_str()))?;
    Ok(entries)
}

fn parse_entry(line: &[u8], start: usize, file_len: usize) -> Result<Entry> {
    let (name, rest) = line[..NAME_LIMIT].split_at(name_len(&line[..NAME_LIMIT]));
    if rest.iter().chain(&line[52..]).any(|&b| b != 0) {
        return Err(damaged("table", "data in reserved bytes", "zeros"));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    let (offset, len) = (u64_at(line, 32), u64_at(line, 40));
    if offset != start as u64 {
        let part = format!("section {name:?}");
        return Err(damaged(
            &part,
            format!("offset {offset}"),
            format!("offset {start}"),
        ));
    }
    let end = offset
        .checked_add(len)
        .filter(|&end| end <= file_len as u64);
    let Some(end) = end.and_then(|end| usize::try_from(end).ok()) else {
        let left = file_len.saturating_sub(start) as u64;
        return Err(damaged(
            &format!("section {name:?}"),
            bytes(len),
            format!("at most {}", bytes(left)),
        ));
    };
    Ok(Entry {
        name,
        range: start..end,
        crc: u32_at(line, 48),
    })
}

fn name_len(field: &[u8]) -> usize {
    field.iter().position(|&b| b == 0).unwrap_or(field.len())
}

/// Refuses names that are empty, too long, not printable ASCII, or there twice.
pub(super) fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        let fits = (1..=NAME_LIMIT).contains(&name.len());
        if !fits || !name.bytes().all(|b| b.is_ascii_graphic()) {
            let expected = "1 to 32 printable ASCII characters without spaces";
            return Err(Error::invalid(
                "section name",
                format!("{name:?}"),
                expected,
            ));
        }
        if !seen.insert(name) {
            let expected = "each section once";
            return Err(Error::invalid(
                "section name",
                format!("{name:?} twice"),
                expected,
            ));
        }
    }
    Ok(())
}

/// Header and table for sections of these names, lengths and checksums, and the stamp.
///
/// # Errors
/// Names that [`check_names`] refuses, and more than [`SECTION_LIMIT`] of them.
pub(super) fn lay_out(
    kind: Kind,
    generation: u64,
    sections: &[(&str, usize, u32)],
) -> Result<(Vec<u8>, Stamp, u64)> {
    check_names(sections.iter().map(|s| s.0))?;
    if sections.len() > SECTION_LIMIT {
        return Err(Error::Limit {
            what: "sections",
            found: sections.len() as u64,
            limit: SECTION_LIMIT as u64,
        });
    }
    let mut head = vec![0; HEADER_LEN];
    let mut end = HEADER_LEN + sections.len() * ENTRY_LEN;
    for &(name, len, crc) in sections {
        let start = end.next_multiple_of(ALIGNMENT);
        let line = head.len();
        head.resize(line + ENTRY_LEN, 0);
        head[line..line + name.len()].copy_from_slice(name.as_bytes());
        put(&mut head, line + 32, &(start as u64).to_le_bytes());
        put(&mut head, line + 40, &(len as u64).to_le_bytes());
        put(&mut head, line + 48, &crc.to_le_bytes());
        end = start + len;
    }
    let table_crc = crc32fast::hash(&head[HEADER_LEN..]);
    put(&mut head, 0, &MAGIC);
    put(&mut head, 8, &FORMAT_VERSION.to_le_bytes());
    put(&mut head, 12, &kind.number().to_le_bytes());
    put(&mut head, 16, &generation.to_le_bytes());
    put(&mut head, 24, &(end as u64).to_le_bytes());
    put(&mut head, 32, &(sections.len() as u32).to_le_bytes());
    put(&mut head, 36, &table_crc.to_le_bytes());
    let checksum = crc32fast::hash(&head[..HEADER_CRC]);
    put(&mut head, HEADER_CRC, &checksum.to_le_bytes());
    Ok((
        head,
        Stamp {
            generation,
            checksum,
        },
        end as u64,
    ))
}

fn check_version(found: u32) -> Result<()> {
    match found {
        FORMAT_VERSION => Ok(()),
        0 => Err(damaged("header", "format version 0", "1 or later")),
        _ => Err(Error::NewerVersion {
            found,
            known: FORMAT_VERSION,
        }),
    }
}

/// Holds `data` against its stored checksum.
pub(super) fn check_crc(part: &str, data: &[u8], expected: u32) -> Result<()> {
    match crc32fast::hash(data) {
        found if found == expected => Ok(()),
        found => Err(damaged(
            part,
            format!("checksum {found:08x}"),
            format!("{expected:08x}"),
        )),
    }
}

fn bytes(n: u64) -> String {
    format!("{n} bytes")
}

fn put(head: &mut [u8], at: usize, value: &[u8]) {
    head[at..at + value.len()].copy_from_slice(value);
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| data[at + i]))
}

fn u64_at(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| data[at + i]))
}
