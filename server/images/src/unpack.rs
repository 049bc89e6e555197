//! Compressed streams: what a file is packed with is seen from its first bytes, never from its
//! name, and unpacked by libraries in Rust alone.
//!
//! The memory of each is bounded: xz and lzma by the limit given, zstd by the library's largest
//! window, the others by their formats.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::rc::Rc;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::ImportError;
use crate::budget::{Budget, Counted, Metered, read_error};

/// Dictionaries of xz and lzma, in KiB: Linux packs kernels with up to 128 MiB.
const MOST_XZ_KIB: u32 = 256 << 10;

/// How a stream is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Xz,
    Lzma,
    Zstd,
    Bzip2,
    /// Both the frames of today and the old ones that Linux packs kernels in.
    Lz4,
}

/// How many of the first bytes tell the packing.
pub(crate) const SNIFF_BYTES: usize = 8;

impl Packing {
    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Self::Lz4,
            [0x5d, 0, 0, ..] => Self::Lzma,
            _ => Self::Plain,
        }
    }

    fn unpack<'r, R: Read + 'r>(self, packed: R) -> io::Result<Box<dyn Read + 'r>> {
        let packed = BufReader::with_capacity(128 << 10, packed);
        Ok(match self {
            Self::Plain => Box::new(packed),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, MOST_XZ_KIB)),
            Self::Lzma => {
                Box::new(lzma_rust2::LzmaReader::new_mem_limit(packed, MOST_XZ_KIB, None)?)
            }
            Self::Zstd => Box::new(ZstdFrames::new(packed)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
            Self::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(packed)),
        })
    }
}

/// A stream unpacked and metered.
pub(crate) type Unpacked<'a> = Metered<'a, Box<dyn Read + 'a>>;

/// Reads `stream` as whatever it is packed with. Errors of the reader are for [`read_error`].
pub(crate) fn unpacked<'a>(
    mut stream: impl Read + 'a,
    from: &str,
    budget: &'a Budget<'a>,
) -> Result<Unpacked<'a>, ImportError> {
    let mut head = Vec::with_capacity(SNIFF_BYTES);
    let read = stream.by_ref().take(SNIFF_BYTES as u64).read_to_end(&mut head);
    read.map_err(|error| read_error(from, error))?;
    let packing = Packing::of(&head);
    let packed = Rc::new(Cell::new(0));
    let whole = Cursor::new(head).chain(stream);
    let unpacking = packing
        .unpack(Counted::new(whole, packed.clone(), budget))
        .map_err(|error| read_error(from, error))?;
    Ok(Metered::new(unpacking, budget, packed))
}

/// All frames of a zstd stream, one after the other, each checked against its checksum where it
/// has one; the library's own reader ends after the first and does not check.
struct ZstdFrames<R> {
    packed: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(packed: R) -> Self {
        Self { packed, decoder: FrameDecoder::new(), in_frame: false }
    }

    /// Begins the next frame; false at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.packed.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.packed) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.packed).take(length), &mut io::sink())?;
                    if skipped != length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(invalid(error)),
            }
        }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        match self.decoder.get_checksum_from_data() {
            Some(said) if self.decoder.get_calculated_checksum() != Some(said) => {
                Err(invalid("a zstd frame does not have the checksum it says"))
            }
            _ => Ok(()),
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.packed, one).map_err(invalid)?;
            }
            match self.decoder.read(buf)? {
                0 => self.end_frame()?,
                read => return Ok(read),
            }
        }
    }
}

#[cfg(test)]
mod tests;
