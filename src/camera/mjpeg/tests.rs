use proptest::prelude::*;

use super::*;

/// Gives `bytes` in reads of at most these lengths, over and over.
struct Chopped<'a> {
    bytes: &'a [u8],
    reads: Vec<usize>,
    count: usize,
}

impl Read for Chopped<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = self.reads[self.count % self.reads.len()];
        self.count += 1;
        let n = most.min(to.len()).min(self.bytes.len());
        to[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes = &self.bytes[n..];
        Ok(n)
    }
}

fn split_in(bytes: &[u8], reads: Vec<usize>, most: usize) -> (Vec<Vec<u8>>, usize) {
    let (bytes, count) = (bytes, 0);
    let from = Chopped {
        bytes,
        reads,
        count,
    };
    let mut splitter = Splitter::with_most(from, most);
    let (mut whole, mut damaged, mut picture) = (Vec::new(), 0, Vec::new());
    loop {
        match splitter.next(&mut picture).unwrap() {
            Piece::Whole => whole.push(picture.clone()),
            Piece::Damaged(_) => damaged += 1,
            Piece::End => return (whole, damaged),
        }
        assert!(splitter.held.len() <= most + CHUNK);
    }
}

fn split(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    split_in(bytes, vec![CHUNK], MOST_BYTES)
}

fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker], &length[..], data].concat()
}

/// A JPEG in form, if not in content, of `scan` bytes of data; `seed` tells them apart.
fn jpeg(seed: u8, scan: usize, thumbnail: &[u8]) -> Vec<u8> {
    let data = (0..scan).map(|i| (i as u8).wrapping_mul(31) ^ seed);
    let escaped = data.flat_map(|b| {
        let after = (b == 0xff).then_some(0);
        std::iter::once(b).chain(after)
    });
    let exif = [b"Exif\0\0", thumbnail].concat();
    [
        vec![0xff, 0xd8],
        segment(0xe1, &exif),
        segment(0xdb, &[seed; 65]),
        vec![0xff],
        segment(0xc0, &[8, 0, 48, 0, 64]),
        segment(SCAN, &[1, 1, 0, 0, 63, 0]),
        escaped.collect(),
        vec![0xff, 0xd3, 1, 2],
        segment(0xc4, &[0xff, 0xd8, 0xff]),
        segment(SCAN, &[1, 1, 0, 0, 63, 0]),
        vec![seed, 0xff, 0x00, 0xff, 0xff, 0xd9],
    ]
    .concat()
}

const SCAN: u8 = 0xda;

fn plain(seed: u8) -> Vec<u8> {
    jpeg(seed, 300, &[])
}

fn multipart(pictures: &[Vec<u8>], with_length: bool) -> Vec<u8> {
    let part = |picture: &Vec<u8>| {
        let length = match with_length {
            true => format!("Content-Length: {}\r\n", picture.len()),
            false => String::new(),
        };
        let head = format!("--edge\r\nContent-Type: image/jpeg\r\n{length}\r\n");
        [head.as_bytes(), picture, b"\r\n"].concat()
    };
    pictures.iter().flat_map(part).collect()
}

#[test]
fn pictures_come_out_however_they_are_strung() {
    let pictures = vec![plain(1), jpeg(2, 90_000, &plain(9)), plain(3)];
    for bytes in [
        pictures.concat(),
        pictures.join(&b"garbage \xff\xd8 \xff"[..]),
        multipart(&pictures, true),
        multipart(&pictures, false),
    ] {
        assert_eq!(split(&bytes), (pictures.clone(), 0));
    }
}

#[test]
fn a_thumbnail_is_no_picture() {
    let inner = plain(7);
    let outer = jpeg(1, 400, &[inner.clone(), inner].concat());
    assert_eq!(split(&outer), (vec![outer], 0));
}

/// Whether the next picture comes whole after one that breaks off at `cut`.
fn recovers(pictures: &[Vec<u8>], cut: usize, between: &[u8]) -> bool {
    let cut_off = &pictures[0][..cut];
    let (next, last) = (&pictures[1], &pictures[2]);
    let bytes = [last, cut_off, between, next, last].concat();
    let (whole, damaged) = split(&bytes);
    assert_eq!(whole.first(), Some(last), "{cut}");
    assert_eq!(whole.last(), Some(last), "{cut}");
    // Cut two bytes before a segment's end, it goes on in the next one, which is as good as that.
    let joined = whole.len() == 3 && whole[1].ends_with(&next[2..]);
    joined || (whole.iter().eq([last, next, last]) && damaged == 1)
}

#[test]
fn wherever_a_picture_breaks_off_the_next_is_whole() {
    let pictures: Vec<_> = (1..4).map(|n| jpeg(n, 300, &[])).collect();
    for cut in 3..pictures[0].len() - 1 {
        for between in [&b""[..], b"\r\n--edge\r\n\r\n"] {
            assert!(recovers(&pictures, cut, between), "{cut}");
        }
    }
}

/// What follows a cut within a segment is taken for its rest, and now and then that ends right
/// before a marker; no walk can tell.
#[test]
fn wherever_a_picture_with_a_thumbnail_breaks_off_the_next_is_almost_always_whole() {
    let start = [&[0xff, 0xd8], &segment(SCAN, &[1, 1, 0, 0, 63, 0])[..]].concat();
    let small = [&start[..], &[7; 600], &[0xff, 0xd9]].concat();
    let pictures: Vec<_> = (1..4).map(|n| jpeg(n, 300, &small)).collect();
    let cuts = 3..pictures[0].len() - 1;
    let lost = cuts.clone().filter(|cut| !recovers(&pictures, *cut, b""));
    let lost = lost.count();
    assert!(lost * 50 < cuts.len(), "{lost} of {}", cuts.len());
}

#[test]
fn a_stream_that_ends_within_a_picture_says_so() {
    let bytes = [plain(1), plain(2)].concat();
    for cut in plain(1).len() + 3..bytes.len() {
        assert!(split(&bytes[..cut]) == (vec![plain(1)], 1), "{cut}");
    }
}

#[test]
fn a_picture_above_the_bound_is_passed_over() {
    let most = 2000;
    let head = jpeg(1, 0, &[]).len() - 29;
    let large = [&jpeg(1, 0, &[])[..head], &[7; 5000], &[0xff, 0xd9]].concat();
    let bytes = [plain(2), large, plain(3)].concat();
    for reads in [vec![1], vec![700], vec![CHUNK]] {
        let (whole, damaged) = split_in(&bytes, reads, most);
        assert_eq!((whole.len(), damaged), (2, 1));
        assert!(whole == [plain(2), plain(3)]);
    }
}

#[test]
fn what_is_no_stream_of_jpegs_is_told_once_a_mebibyte() {
    let mut splitter = Splitter::new(io::repeat(b'x').take(3 << 20));
    let Piece::Damaged(why) = splitter.next(&mut Vec::new()).unwrap() else {
        panic!("not told");
    };
    assert!(why.to_string().contains("MJPEG"), "{why}");
    assert_eq!(split(&vec![b'x'; 3 << 20]).1, 2);
}

#[test]
fn a_stream_made_to_be_slow_is_not() {
    // Starts and lengths that each lead far ahead to something wrong.
    let far = [0xff, 0xd8, 0xff, 0xe0, 0xff, 0xf0].repeat(1 << 20);
    let scans = [0xff, 0xd8, 0xff, SCAN, 0, 8].repeat(1 << 20);
    for evil in [far, scans] {
        let began = std::time::Instant::now();
        assert!(split(&evil).0.is_empty());
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
    }
}

proptest! {
    #[test]
    fn however_the_stream_is_chopped_the_pictures_are_the_same(
        seeds in prop::collection::vec((any::<u8>(), 0_usize..2000, any::<bool>()), 1..5),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec((0_usize..4000, 0_usize..30), 0..3),
        reads in prop::collection::vec(1_usize..300, 1..6),
    ) {
        let small = plain(7);
        let pictures: Vec<_> = seeds
            .iter()
            .map(|(seed, scan, thumb)| jpeg(*seed, *scan, if *thumb { &small } else { &[] }))
            .collect();
        let mut bytes = pictures.join(&garbage[..]);
        for (at, count) in cuts {
            let at = at.min(bytes.len());
            bytes.drain(at..bytes.len().min(at + count));
        }
        let expected = split_in(&bytes, vec![CHUNK], 3000);
        prop_assert_eq!(split_in(&bytes, reads, 3000), expected);
    }

    #[test]
    fn random_bytes_neither_panic_nor_grow(
        marks in prop::collection::vec(
            prop_oneof![
                Just(vec![0xff, 0xd8, 0xff]),
                Just(vec![0xff, 0xda, 0, 8]),
                Just(vec![0xff, 0xd9]),
                prop::collection::vec(any::<u8>(), 0..50),
            ],
            0..200,
        ),
        reads in prop::collection::vec(1_usize..300, 1..6),
    ) {
        let bytes = marks.concat();
        let (whole, _) = split_in(&bytes, reads, 1000);
        for picture in whole {
            prop_assert!(picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9]));
            prop_assert!(picture.len() <= 1000);
        }
    }
}
