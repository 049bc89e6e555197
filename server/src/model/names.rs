//! Which texts may be names.
//!
//! Names become parts of paths, of DNS names and of command lines, so they are ASCII of a few kinds
//! only. Look-alike letters, control characters, slashes and leading dashes are refused by that.
//! Each check answers the rule that was broken as a sentence for the caller.

use banger_proto::bounds::MAX_BOOT_ARGS_BYTES;
use uuid::Uuid;

/// Longest DNS label, in bytes (RFC 1035, section 2.3.4).
pub const MAX_NAME_LEN: usize = 63;

/// Longest name of an image file, in bytes.
pub const MAX_IMAGE_NAME_LEN: usize = 128;

/// Checks the name of a VM or a host: an RFC 1123 label that can't be mistaken for an id.
///
/// # Errors
/// The rule that the text breaks.
pub fn check_name(text: &str) -> Result<(), &'static str> {
    check_label(text)?;
    if Uuid::try_parse(text).is_ok() {
        return Err("must not have the form of a UUID, so that it can't be mistaken for an id");
    }
    Ok(())
}

/// Checks a reference to a host or a VM: a name, or an id in its canonical form.
///
/// # Errors
/// The rule that the text breaks.
pub fn check_reference(text: &str) -> Result<(), &'static str> {
    // A canonical UUID is a DNS label too.
    check_label(text)
}

fn check_label(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err("must not be empty");
    }
    if bytes.len() > MAX_NAME_LEN {
        return Err("must have at most 63 characters");
    }
    if !bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err("must have only the characters a-z, 0-9 and '-'");
    }
    if bytes.first() == Some(&b'-') || bytes.last() == Some(&b'-') {
        return Err("must not begin or end with '-'");
    }
    Ok(())
}

/// Checks the name of a file in a host's image directory.
///
/// # Errors
/// The rule that the text breaks.
pub fn check_image_name(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err("is required");
    }
    if bytes.len() > MAX_IMAGE_NAME_LEN {
        return Err("must have at most 128 characters");
    }
    if !bytes
        .iter()
        .all(|b| matches!(b, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'+' | b'-'))
    {
        return Err("must have only the characters A-Z, a-z, 0-9, '.', '_', '+' and '-'");
    }
    if matches!(bytes.first(), Some(b'.' | b'-')) {
        return Err("must not begin with '.' or '-'");
    }
    Ok(())
}

/// Checks a sha256 as text: 64 hexadecimal digits, either case.
///
/// # Errors
/// The rule that the text breaks.
pub fn check_sha256(text: &str) -> Result<(), &'static str> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err("must be 64 hexadecimal digits")
    }
}

/// Checks a kernel command line.
///
/// # Errors
/// The rule that the text breaks.
pub fn check_boot_args(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_BOOT_ARGS_BYTES {
        return Err("must have at most 1536 bytes");
    }
    if !text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Err("must be printable ASCII");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
