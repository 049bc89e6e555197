use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn keys_and_values_are_as_in_kubernetes() {
    for key in ["app", "A.b_c-d", "example.com/app", "a/b", &"k".repeat(63)] {
        assert_eq!(check_key(key), Ok(()), "{key:?}");
    }
    for key in
        ["", "/", "a/", "/a", "-a", "a-", "a b", "a/b/c", "Ex.com/a", "ä", "a\n", &"k".repeat(64)]
    {
        assert!(check_key(key).is_err(), "{key:?}");
    }
    for value in ["", "v", "V1.2_3-4", &"v".repeat(63)] {
        assert_eq!(check_value(value), Ok(()), "{value:?}");
    }
    for value in ["-", "a ", "a/b", "a\0", "é", &"v".repeat(64)] {
        assert!(check_value(value).is_err(), "{value:?}");
    }
}

#[test]
fn every_bad_label_is_reported_with_its_key() {
    let mut found = Vec::new();
    let given = labels(&[("ok", "1"), ("bad key", "1"), ("k", "bad value")]);
    check_all(&given, "spec.labels", &mut found);
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, [r#"spec.labels["bad key"]"#, r#"spec.labels["k"]"#]);
}

#[test]
fn too_many_labels_are_one_problem() {
    let given: Labels = (0..33).map(|n| (format!("key{n}"), String::new())).collect();
    let mut found = Vec::new();
    check_all(&given, "labels", &mut found);
    assert_eq!(found.len(), 1);
}

#[test]
fn every_term_of_a_selector_must_match() {
    let web = labels(&[("app", "web"), ("tier", "")]);
    for (text, matches) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app=db", false),
        ("app!=db", true),
        ("app!=web", false),
        ("other!=x", true),
        ("app", true),
        ("other", false),
        ("!other", true),
        ("!app", false),
        ("tier=", true),
        (" app = web , !other ", true),
        ("app=web,other", false),
    ] {
        let selector = Selector::parse(text).expect(text);
        assert_eq!(selector.matches(&web), matches, "{text:?}");
    }
}

#[test]
fn a_selector_says_which_term_is_wrong() {
    let why = Selector::parse("app=web,a b=c").expect_err("a blank in a key");
    assert!(why.starts_with("term 2: "), "{why}");
    for text in [",", "=", "a=b=c", "!", "!=", "a=b\0", "a in (b)"] {
        assert!(Selector::parse(text).is_err(), "{text:?}");
    }
    let many = vec!["a"; 17].join(",");
    assert!(Selector::parse(&many).is_err());
}
