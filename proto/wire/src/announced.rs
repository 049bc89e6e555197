//! Files in an archive, whose header announces a length before the content is read.
//!
//! The command and the guest agent both pack files that others may write to meanwhile, and files of
//! `/proc` and `/sys`, which are said to have another length than they have. Whatever a file does,
//! as many bytes follow as were announced; else the rest of the archive would be read as rubbish.

use std::io::{self, Read};

/// A file up to this size is read before its header is written: those of `/proc` and `/sys` are
/// said to have another size than they have.
pub const READ_FIRST: u64 = 64 * 1024;

/// The most that is read of a file that is said to be small.
const MOST_UNSAID: u64 = 16 * 1024 * 1024;

/// As many bytes as were announced: no more of a file that grows, zeros behind one that became
/// shorter.
#[derive(Debug)]
pub struct Announced<R> {
    file: R,
    left: u64,
}

impl<R: Read> Announced<R> {
    /// A file of which `length` bytes were announced.
    pub const fn new(file: R, length: u64) -> Self {
        Self { file, left: length }
    }
}

impl<R: Read> Read for Announced<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let into = &mut into[..length];
        let read = match self.file.read(into)? {
            // It became shorter.
            0 => {
                into.fill(0);
                length
            }
            read => read,
        };
        self.left -= read as u64;
        Ok(read)
    }
}

/// The content of a file that is said to be small; `None` if it does not end.
///
/// # Errors
/// The file can't be read.
pub fn read_small(file: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    file.take(MOST_UNSAID + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= MOST_UNSAID).then_some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], announced: u64) -> Vec<u8> {
        let mut read = Vec::new();
        Announced::new(content, announced).read_to_end(&mut read).expect("it can be read");
        read
    }

    #[test]
    fn as_many_bytes_follow_as_were_announced() {
        assert_eq!(read(b"abc", 6), b"abc\0\0\0", "it became shorter");
        assert_eq!(read(b"abcdef", 3), b"abc", "it has grown");
        assert_eq!(read(b"", 0), b"");
    }

    #[test]
    fn a_small_file_that_does_not_end_is_given_up() {
        assert_eq!(read_small(&b"abc"[..]).expect("readable"), Some(b"abc".to_vec()));
        assert_eq!(read_small(io::repeat(0)).expect("readable"), None);
    }
}
