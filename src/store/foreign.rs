//! Names the files that people hand us by mistake, from their first bytes, so that the
//! refusal says what was found. It decides nothing else.

/// What the first bytes of a file look like, in words.
pub(super) fn describe(start: &[u8]) -> String {
    let known = match start {
        [] => "an empty file",
        [0x89, b'P', b'N', b'G', ..] => "a PNG image",
        [0xff, 0xd8, 0xff, ..] => "a JPEG image",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => "a WebP image",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive (NPZ, or a PyTorch checkpoint)",
        [0x1f, 0x8b, ..] => "a gzip file",
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => "a NumPy array",
        [b'G', b'G', b'U', b'F', ..] => "a GGUF model",
        [0x7f, b'E', b'L', b'F', ..] => "a program (ELF)",
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => "a TensorFlow Lite model",
        [_, _, _, _, _, _, 0, 0, b'{', ..] => "a safetensors file",
        [8, 1..=32, 0x12 | 0x1a | 0x22 | 0x3a, ..] => "what may be an ONNX model",
        _ if start.starts_with(b"version https://git-lfs") => {
            "a Git LFS pointer (fetch the file itself with `git lfs pull`)"
        }
        _ if is_web_page(start) => "a web page (did a download fail?)",
        _ if start.iter().all(|&b| b == 0) => "zeros",
        _ => return raw(start),
    };
    known.to_owned()
}

fn is_web_page(start: &[u8]) -> bool {
    let text = start.trim_ascii_start().to_ascii_lowercase();
    text.starts_with(b"<!doctype") || text.starts_with(b"<html")
}

fn raw(start: &[u8]) -> String {
    let start = &start[..start.len().min(8)];
    let hex: Vec<_> = start.iter().map(|b| format!("{b:02x}")).collect();
    format!("bytes {} (\"{}\")", hex.join(" "), start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn common_mistakes_are_named() {
        assert_eq!(describe(b"\x89PNG\r\n\x1a\n"), "a PNG image");
        assert_eq!(describe(b""), "an empty file");
        assert!(describe(b"\x08\x07\x12\x07pytorch").contains("ONNX"));
        assert!(describe(b"\n <!DOCTYPE html>").contains("web page"));
        assert!(describe(b"version https://git-lfs.github.com/spec/v1").contains("lfs pull"));
        assert!(describe(&[0; 64]).contains("zeros"));
    }

    #[test]
    fn unknown_bytes_are_shown() {
        assert_eq!(describe(b"hello"), "bytes 68 65 6c 6c 6f (\"hello\")");
        assert_eq!(describe(&[1, 2]), "bytes 01 02 (\"\\x01\\x02\")");
    }
}
