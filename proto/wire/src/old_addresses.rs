//! IPv4 addresses in forms that are no names and that only some readers understand.
//!
//! The C library reads `127.1`, `0x7f.1` and `2130706433` as addresses, and so does whoever asks
//! it: a resolver here, or a proxy elsewhere. Rust's parser does not, so a check that looks for
//! literal addresses by that alone takes them for names. Pure; asked wherever somebody else says
//! which host is to be reached.

/// Whether a host's name may be read as an IPv4 address in one of its older forms: whether its last
/// label is a number, which no top-level domain is. The rule is the one of browsers (WHATWG URL,
/// "ends in a number checker").
#[must_use]
pub fn may_be_one(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_c_library_reads_as_an_address_is_no_name() {
        for old in
            ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "0X7F000001", "127.0.0.1", "1.", "a.0x"]
        {
            assert!(may_be_one(old), "{old}");
        }
        for name in ["localhost", "1.example", "0x7f.example.", "x0x7", "10-0-0-1", "a.1b"] {
            assert!(!may_be_one(name), "{name}");
        }
    }
}
