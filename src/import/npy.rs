//! NumPy's `.npy`, f32 and two-dimensional: the form in which vectors come and go.
//!
//! Format: numpy/lib/format.py, version 1.0.

use std::io::Write;

use ndarray::{Array2, ArrayView2};

use crate::error::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";

/// A C-ordered little-endian f32 matrix from the bytes of a `.npy` file.
///
/// # Errors
/// Another format, element type, order or rank, or a length at odds with the shape.
pub fn read_npy(bytes: &[u8]) -> Result<Array2<f32>> {
    let wrong = |found: String| {
        Error::invalid(
            "npy file",
            found,
            "a C-ordered little-endian f32 matrix, version 1",
        )
    };
    if bytes.len() < 10 || !bytes.starts_with(MAGIC) || bytes[6] != 1 {
        return Err(wrong(format!("{} bytes of another format", bytes.len())));
    }
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = bytes
        .get(10..start)
        .and_then(|h| std::str::from_utf8(h).ok())
        .unwrap_or_default();
    if !header.contains("'<f4'") || !header.contains("'fortran_order': False") {
        return Err(wrong(header.trim().to_owned()));
    }
    let inside = header
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("", |(dims, _)| dims);
    let dims: Option<Vec<usize>> = inside
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty())
        .map(|d| d.parse().ok())
        .collect();
    let Some([rows, columns]) = dims.as_deref() else {
        return Err(wrong(format!("shape ({inside})")));
    };
    let data = &bytes[start..];
    if rows.checked_mul(*columns).and_then(|n| n.checked_mul(4)) != Some(data.len()) {
        return Err(wrong(format!("{} bytes for shape ({inside})", data.len())));
    }
    let values = data
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    Ok(Array2::from_shape_vec((*rows, *columns), values).expect("the length was checked"))
}

/// Writes `matrix` as `.npy`.
///
/// # Errors
/// What `out` says.
pub fn write_npy(out: &mut dyn Write, matrix: ArrayView2<'_, f32>) -> std::io::Result<()> {
    let (rows, columns) = matrix.dim();
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // The data starts at a multiple of 64, as the format asks.
    while !(MAGIC.len() + 4 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for v in matrix {
        out.write_all(&v.to_le_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_survives_the_round_trip() {
        let matrix = ndarray::arr2(&[[1.5, -2.0, 3.25], [0.0, f32::MIN_POSITIVE, -0.0]]);
        let mut bytes = Vec::new();
        write_npy(&mut bytes, matrix.view()).unwrap();
        assert_eq!(bytes.len() % 64, 24);
        assert_eq!(read_npy(&bytes).unwrap(), matrix);
        for cut in 0..bytes.len() {
            assert!(read_npy(&bytes[..cut]).is_err(), "{cut}");
        }
    }
}
