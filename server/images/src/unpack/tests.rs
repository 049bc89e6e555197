use std::io::Write;

use super::*;
use crate::testing::{gzip, no_report, pack_with, ratio_bomb};
use crate::{Cancel, Limits, Step};

fn read_all(packed: &[u8], limits: Limits) -> Result<Vec<u8>, ImportError> {
    let (cancel, report) = (Cancel::default(), no_report);
    let budget = Budget::new(limits, &cancel, &report, Step::Check, None);
    let mut stream = unpacked(packed, "stream", &budget)?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).map_err(|error| read_error("stream", error))?;
    Ok(all)
}

#[test]
fn every_packing_gives_back_what_was_packed() {
    let mut plain = Vec::new();
    for line in 0..60_000_u32 {
        writeln!(plain, "line {line} of a text that packs").expect("a vector takes it");
    }
    assert_eq!(read_all(&plain, Limits::default()).expect("plain"), plain);
    assert_eq!(read_all(&gzip(&plain), Limits::default()).expect("gzip"), plain);
    for tool in [
        &["xz", "-c"][..],
        &["xz", "-c", "--check=crc32", "--x86", "--lzma2=dict=1MiB"],
        &["xz", "-c", "--format=lzma"],
        &["zstd", "-c", "-q"],
        &["bzip2", "-c"],
        &["lz4", "-c", "-q"],
        &["lz4", "-c", "-q", "-l"],
    ] {
        let packed = pack_with(tool, &plain);
        assert!(packed.len() < plain.len() / 2, "{tool:?} packs");
        let got = read_all(&packed, Limits::default());
        assert_eq!(got.unwrap_or_else(|error| panic!("{tool:?}: {error:?}")), plain, "{tool:?}");
    }
}

#[test]
fn streams_of_several_members_are_read_to_their_end() {
    for tool in [&["gzip", "-c"][..], &["xz", "-c"], &["zstd", "-c", "-q"], &["bzip2", "-c"]] {
        let twice = [pack_with(tool, b"one "), pack_with(tool, b"two")].concat();
        assert_eq!(read_all(&twice, Limits::default()).expect("both members"), b"one two");
    }
}

#[test]
fn a_stream_that_ends_too_early_is_damaged() {
    let plain: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    for tool in [&["gzip", "-c"][..], &["xz", "-c"], &["zstd", "-c", "-q"], &["bzip2", "-c"]] {
        let packed = pack_with(tool, &plain);
        for keep in [packed.len() / 2, packed.len() - 3] {
            let got = read_all(&packed[..keep], Limits::default());
            assert!(matches!(got, Err(ImportError::Damaged { .. })), "{tool:?} {keep}: {got:?}");
        }
    }
}

#[test]
fn contents_that_do_not_fit_their_checksum_are_damaged() {
    for tool in [&["gzip", "-c"][..], &["xz", "-c"], &["zstd", "-c", "-q"], &["bzip2", "-c"]] {
        let mut packed = pack_with(tool, &b"contents that are summed ".repeat(50));
        let at = packed.len() / 2;
        packed[at] ^= 0x10;
        assert!(read_all(&packed, Limits::default()).is_err(), "{tool:?}");
    }
}

#[test]
fn a_stream_that_grows_too_much_is_a_bomb() {
    let bomb = ratio_bomb(80 << 20);
    let got = read_all(&bomb, Limits::default());
    let Err(ImportError::Limit { limit: 200, unit: "times its packed size", .. }) = got else {
        panic!("{:?}", got.map(|all| all.len()));
    };
    let limits = Limits { unpacked_bytes: 1 << 20, ..Limits::default() };
    let got = read_all(&bomb, limits);
    assert!(matches!(got, Err(ImportError::Limit { unit: "bytes unpacked", .. })), "{got:?}");
}

#[test]
fn a_cancelled_import_stops_reading() {
    let (cancel, report) = (Cancel::default(), no_report);
    cancel.cancel();
    let budget = Budget::new(Limits::default(), &cancel, &report, Step::Check, None);
    let mut stream = unpacked(&[7_u8; 3 << 20][..], "stream", &budget).expect("it opens");
    let error = io::copy(&mut stream, &mut io::sink()).expect_err("it stops");
    assert!(matches!(read_error("stream", error), ImportError::Cancelled));
}

/// Cancels when it was read so often, and counts what is read from then on.
struct Cancelling<'a> {
    inner: &'a [u8],
    before: u32,
    after: u32,
    cancel: &'a Cancel,
}

impl Read for Cancelling<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.before.checked_sub(1) {
            Some(left) => self.before = left,
            None => self.after += 1,
        }
        if self.before == 0 {
            self.cancel.cancel();
        }
        self.inner.read(buf)
    }
}

#[test]
fn an_import_is_cancelled_where_nothing_comes_out_of_what_is_read() {
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18][..], &[0; 4]].concat();
    for (name, empty) in [
        ("gzip", gzip(b"")),
        ("xz", pack_with(&["xz", "-c"], b"")),
        ("bzip2", pack_with(&["bzip2", "-c"], b"")),
        ("zstd", skipped),
    ] {
        let (cancel, report) = (Cancel::default(), no_report);
        let members = empty.repeat((2 << 20) / empty.len());
        let mut packed = Cancelling { inner: &members, before: 4, after: 0, cancel: &cancel };
        let budget = Budget::new(Limits::default(), &cancel, &report, Step::Check, None);
        let mut stream = unpacked(&mut packed, "stream", &budget).expect("it opens");
        let error = io::copy(&mut stream, &mut io::sink()).expect_err(name);
        assert!(matches!(read_error("stream", error), ImportError::Cancelled), "{name}");
        drop(stream);
        assert_eq!(packed.after, 0, "{name} is read on");
    }
}
