//! What a file is, by its first bytes.

/// A kind of picture that this crate decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Jpeg,
    Png,
    WebP,
    Bmp,
}

impl Kind {
    /// The name that people know it by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
        }
    }
}

/// The kind, or in words what stands there instead.
pub(super) fn kind(bytes: &[u8]) -> Result<Kind, String> {
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        return Ok(Kind::Jpeg);
    }
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(Kind::Png);
    }
    if is_riff(bytes, b"WEBP") {
        return Ok(Kind::WebP);
    }
    if bytes.starts_with(b"BM") && bytes.len() >= BMP_LEAST {
        return Ok(Kind::Bmp);
    }
    Err(stranger(bytes))
}

/// The shortest BMP: file header and the smallest picture header.
const BMP_LEAST: usize = 26;

fn is_riff(bytes: &[u8], form: &[u8; 4]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(form)
}

/// Names what is not decoded, where it can be recognised.
fn stranger(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "an empty file".into();
    }
    if let Some(name) = named(bytes) {
        return name.into();
    }
    let head: Vec<String> = bytes
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{} bytes that start with {}", bytes.len(), head.join(" "))
}

fn named(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: [(&[u8], &str); 12] = [
        (b"GIF87a", "a GIF"),
        (b"GIF89a", "a GIF"),
        (b"II*\0", "a TIFF or a camera's raw file"),
        (b"MM\0*", "a TIFF or a camera's raw file"),
        (b"II+\0", "a BigTIFF"),
        (b"%PDF", "a PDF"),
        (b"\0\0\0\x0cJXL ", "a JPEG XL"),
        (b"\xff\x0a", "a JPEG XL"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
        (b"8BPS", "a Photoshop file"),
        (b"\0\0\x01\0", "an icon"),
        (b"PK\x03\x04", "a ZIP archive"),
    ];
    let by_start = STARTS.iter().find(|(start, _)| bytes.starts_with(start));
    by_start
        .map(|(_, name)| *name)
        .or_else(|| boxed(bytes))
        .or_else(|| text(bytes))
}

/// HEIC, AVIF and films share a container, whose brand tells them apart.
fn boxed(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(4..8) != Some(b"ftyp") {
        return is_riff(bytes, b"AVI ").then_some("an AVI film");
    }
    Some(match bytes.get(8..12)? {
        b"avif" | b"avis" => "an AVIF",
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" => "a HEIC",
        _ => "a film (MP4 or QuickTime)",
    })
}

fn text(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(512)];
    let has = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
    if has(b"<svg") {
        return Some("an SVG drawing");
    }
    if has(b"<html") || has(b"<HTML") || has(b"<!DOCTYPE") || has(b"<!doctype") {
        return Some("a web page");
    }
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    head.iter().all(plain).then_some("plain text")
}
