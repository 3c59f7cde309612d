//! The body that the property test and the fuzz target share.

use edgeclip::store::{Envelope, Kind};

/// Opens anything as either kind and touches all that an opened file offers.
pub fn open_never_panics(data: &[u8]) {
    for kind in [Kind::ModelBundle, Kind::Classifier] {
        let Ok(envelope) = Envelope::from_bytes(data, kind) else {
            continue;
        };
        assert_eq!(envelope.len_bytes(), data.len());
        let whole = envelope.verify().is_ok();
        let names: Vec<_> = envelope.sections().map(|s| s.name.to_owned()).collect();
        let mut all = true;
        for name in &names {
            let section = envelope.section(name);
            all &= section.is_ok();
            if let Ok(section) = envelope.section_ref(name) {
                assert_eq!(section.as_ptr() as usize % 64, 0);
                assert_eq!(section.i8s().len(), section.len());
                assert_eq!(section.f32s().is_ok(), section.len() % 4 == 0);
            }
        }
        assert_eq!(whole, all);
        if whole {
            assert_eq!(rebuilt(&envelope, kind), data, "one content, one file");
        }
    }
}

fn rebuilt(envelope: &Envelope, kind: Kind) -> Vec<u8> {
    let builder = Envelope::builder(kind).generation(envelope.stamp().generation);
    let builder = envelope.sections().fold(builder, |builder, s| {
        builder.section(s.name, envelope.section(s.name).expect("verified before"))
    });
    builder.to_bytes().expect("names were accepted before")
}

/// The same bytes with magic, length and the checksums of header and table put right, so
/// that what stands behind the checksums is reached; `None` where there is no header.
pub fn sealed(data: &[u8]) -> Option<Vec<u8>> {
    let mut data = data.to_vec();
    let len = data.len() as u64;
    let count = u32::from_le_bytes(data.get(32..36)?.try_into().ok()?) as usize;
    let table = data.get(64..64 + count.checked_mul(64)?)?;
    let table = crc32fast::hash(table).to_le_bytes();
    data[..8].copy_from_slice(b"\x89ECLIP\r\n");
    data[24..32].copy_from_slice(&len.to_le_bytes());
    data[36..40].copy_from_slice(&table);
    let header = crc32fast::hash(&data[..60]).to_le_bytes();
    data[60..64].copy_from_slice(&header);
    Some(data)
}
