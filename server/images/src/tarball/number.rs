//! Numbers as tar headers have them: octal digits, nothing at all, or GNU's base 256. Pure.
//!
//! Driven by [`super::Tarball`]. A field that is none of these is `None`: what is not understood is
//! never taken for a zero.

/// The number of a header's field.
///
/// POSIX has octal digits between spaces and NULs. A field that is blank stands for 0, as Go and
/// GNU tar read it. With the first bit set the rest of the field is a big-endian two's complement
/// (GNU tar's manual, "Basic Tar Format").
pub(super) fn field(bytes: &[u8]) -> Option<i64> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base_256(bytes),
        _ => octal(bytes),
    }
}

fn octal(bytes: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    // What lies behind the first blank is rubbish that old programs left.
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_i64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn base_256(bytes: &[u8]) -> Option<i64> {
    // The second bit is the sign.
    let negative = bytes.first()? & 0x40 != 0;
    let first = bytes.first()? & 0x7f | if negative { 0x80 } else { 0 };
    let rest = bytes.iter().skip(1);
    let start = i128::from(first.cast_signed());
    let number = rest
        .copied()
        .try_fold(start, |number, byte| number.checked_mul(256)?.checked_add(i128::from(byte)))?;
    i64::try_from(number).ok()
}

/// Seconds of a pax time such as `-1.5`, rounded down.
pub(super) fn seconds(text: &[u8]) -> Option<i64> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds: i64 = decimal(whole)?;
    let below = whole.starts_with(b"-") && fraction.iter().any(|digit| *digit != b'0');
    seconds.checked_sub(i64::from(below))
}

pub(super) fn decimal<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_octal_blank_or_base_256_and_nothing_else() {
        for (bytes, number) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"    644 ", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"0000648\0", None),
            (b"-000001\0", None),
            (b"\x80\0\0\0\0\0\x01\x02", Some(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"777777777777777777777777", None),
        ] {
            assert_eq!(field(bytes), number, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_time_before_1970_is_that_time() {
        assert_eq!(seconds(b"-1.5"), Some(-2));
        assert_eq!(seconds(b"-1.0"), Some(-1));
        assert_eq!(seconds(b"12.75"), Some(12));
        assert_eq!(seconds(b"12.7x"), None);
        assert_eq!(seconds(b""), None);
    }
}
