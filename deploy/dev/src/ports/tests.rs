//! Claims about ports.

use super::*;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn agents_take_the_ports_after_the_server_in_pairs() {
    let server = server(at(7070)).unwrap();
    assert_eq!((server.listen, server.metrics), (at(7070), at(7071)));
    let third = agent(&server, 2, false).unwrap();
    assert_eq!((third.name.as_str(), third.listen, third.metrics), ("b2", at(7076), at(7077)));
}

#[test]
fn port_zero_takes_ports_that_are_free() {
    let server = server(at(0)).unwrap();
    assert_ne!(server.listen.port(), 0);
    ensure_free(&server).unwrap();
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() {
    let taken = TcpListener::bind(at(0)).unwrap();
    let address = taken.local_addr().unwrap();
    let service = Service::new("server".to_owned(), address, at(0));
    let said = format!("{:?}", ensure_free(&service).unwrap_err());
    assert!(said.contains("another program uses it; give other ports with --listen"), "{said}");
}

#[test]
fn addresses_that_others_could_reach_are_refused() {
    assert!(server("0.0.0.0:7070".parse().unwrap()).is_err());
}

#[test]
fn ports_past_the_last_are_refused() {
    assert!(server(at(65535)).is_err());
    assert!(agent(&Service::new("server".into(), at(65533), at(65534)), 0, false).is_err());
}

#[test]
fn a_port_that_was_free_is_given_once() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let given: BTreeSet<u16> = (0..2000).map(|_| pick(any, 0).unwrap().port()).collect();
    assert_eq!(given.len(), 2000);
}
