//! That a target which is wrong is found out.

use super::*;

#[test]
fn a_parser_that_is_wrong_about_one_byte_is_found_out() {
    let found = std::panic::catch_unwind(|| {
        fuzz("none", &[b"plain"], |input| assert!(!input.contains(&b'!'), "takes it"));
    });
    let why = found.expect_err("it is found out");
    let why = why.downcast_ref::<String>().expect("a message");
    let text = why.lines().find_map(|line| line.strip_prefix("as text: ")).expect("the input");
    assert_eq!(text.matches('!').count(), 1, "and made small: {why}");
}

#[test]
fn inputs_stay_within_their_size() {
    let seed = vec![7; LARGEST];
    fuzz("none", &[&seed], |input| assert!(input.len() <= LARGEST));
}
