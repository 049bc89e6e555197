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
        ("app in (web)", true),
        ("app in (db,web)", true),
        ("app in ( db , cache )", false),
        ("other in (web)", false),
        ("other in ()", false),
        ("tier in ()", true),
        ("app notin (db,cache)", true),
        ("app notin (db,web)", false),
        ("other notin (web)", true),
        ("app in (db,web),tier,other notin (x,y),app!=db", true),
        ("app in (db,web),other", false),
    ] {
        let selector = Selector::parse(text).expect(text);
        assert_eq!(selector.matches(&web), matches, "{text:?}");
    }
}

#[test]
fn a_selector_says_which_term_is_wrong() {
    let why = Selector::parse("app=web,a b=c").expect_err("a blank in a key");
    assert!(why.starts_with("term 2: "), "{why}");
    for text in [
        ",",
        "=",
        "a=b=c",
        "!",
        "!=",
        "a=b\0",
        "a in (b",
        "a in b)",
        "a (b)",
        "in (b)",
        "a of (b)",
        "a in (b) c",
        "a in (b,-)",
        "a b in (c)",
        "a in ((b))",
    ] {
        assert!(Selector::parse(text).is_err(), "{text:?}");
    }
    let many = vec!["a"; 17].join(",");
    assert!(Selector::parse(&many).is_err());
    // It is kept as it was written, so what means nothing counts, too.
    let padded = |len: usize| format!("a in (b{})", " ".repeat(len - "a in (b)".len()));
    assert!(Selector::parse(&padded(MAX_SELECTOR_LEN)).is_ok());
    assert!(Selector::parse(&padded(MAX_SELECTOR_LEN + 1)).is_err());
}

#[test]
fn fuzz_a_selector_has_only_keys_and_values_that_labels_may_have() {
    let seeds: [&[u8]; 4] = [
        b"app=web,zone!=a,gpu,!spot",
        b"a==b",
        b"example.com/tier = front",
        b"app in (web,db),zone notin (a)",
    ];
    banger_fuzz::fuzz("label_selector", &seeds, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        match Selector::parse(text) {
            Ok(selector) => {
                assert!(selector.terms.len() <= MAX_TERMS);
                for term in selector.terms.iter() {
                    let (key, values) = match term {
                        Term::Equals(key, value) | Term::Differs(key, value) => {
                            (key, vec![value.as_str()])
                        }
                        Term::In(key, values) | Term::NotIn(key, values) => {
                            (key, values.iter().map(String::as_str).collect())
                        }
                        Term::Has(key) | Term::Lacks(key) => (key, Vec::new()),
                    };
                    assert_eq!(check_key(key), Ok(()));
                    assert!(values.len() <= MAX_VALUES);
                    assert!(values.iter().all(|value| check_value(value).is_ok()));
                }
            }
            Err(why) => assert!(why.len() < 1000, "{why}"),
        }
    });
}
