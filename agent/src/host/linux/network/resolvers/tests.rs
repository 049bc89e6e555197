//! Which lines of a `resolv.conf` name a server that a guest can ask.

use super::parse_resolv_conf;

fn parsed(text: &str) -> Vec<String> {
    parse_resolv_conf(text).iter().map(ToString::to_string).collect()
}

#[test]
fn servers_are_taken_in_their_order_each_once_three_at_most() {
    let text = "# made by somebody\nsearch example.org\nnameserver 192.0.2.53\nnameserver\t198.51.100.1 # second\n\
                nameserver 192.0.2.53\noptions edns0\nnameserver 203.0.113.9\nnameserver 203.0.113.10\n";
    assert_eq!(parsed(text), ["192.0.2.53", "198.51.100.1", "203.0.113.9"]);
}

#[test]
fn a_server_that_only_the_host_can_ask_is_left_out() {
    for only_here in
        ["127.0.0.53", "127.0.0.1", "0.0.0.0", "169.254.1.1", "::1", "2001:db8::53", "224.0.0.1"]
    {
        assert_eq!(
            parsed(&format!("nameserver {only_here}\n")),
            Vec::<String>::new(),
            "{only_here}"
        );
    }
}

#[test]
fn what_is_no_server_names_none() {
    for text in [
        "",
        "nameserver",
        "nameserver dns.example",
        "nameservers 192.0.2.1",
        "#nameserver 192.0.2.1",
        "\0\u{feff}nameserver 192.0.2.1",
    ] {
        assert_eq!(parsed(text), Vec::<String>::new(), "{text:?}");
    }
}
