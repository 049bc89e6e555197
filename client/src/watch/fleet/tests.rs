//! Claims about what a consumer of both kinds is told, without any server.

use banger_proto::v1::WatchEvent;

use super::*;

fn vm(id: &str, revision: u64) -> WatchEvent {
    let vm = Vm { id: id.to_owned(), name: id.to_owned(), revision, ..Vm::default() };
    WatchEvent { r#type: ChangeType::Added.into(), revision, vm: Some(vm), host: None }
}

fn host(id: &str, revision: u64) -> WatchEvent {
    let host = Host { id: id.to_owned(), name: id.to_owned(), revision, ..Host::default() };
    WatchEvent { r#type: ChangeType::Added.into(), revision, vm: None, host: Some(host) }
}

fn gone(event: WatchEvent) -> WatchEvent {
    WatchEvent { r#type: ChangeType::Removed.into(), ..event }
}

fn told(state: &mut Told<Thing>, events: Vec<WatchEvent>, revision: u64, complete: bool) -> String {
    let response = WatchResponse { events, revision, initial_state_complete: complete };
    let say = |news: News<Thing>| match news {
        News::Change { kind, thing, revision } => {
            let sign = match kind {
                ChangeKind::Added => '+',
                ChangeKind::Modified => '~',
                ChangeKind::Removed => '-',
            };
            format!("{sign}{}@{revision}", thing.id())
        }
        News::Current { revision } => format!("={revision}"),
        News::Bookmark { revision } => format!(".{revision}"),
    };
    state.take(response).into_iter().map(say).collect::<Vec<_>>().join(" ")
}

#[test]
fn vms_and_hosts_are_told_in_one_order_and_a_break_resumes_both() {
    let mut state = Told::default();
    assert_eq!(state.begin(), None);
    assert_eq!(told(&mut state, vec![host("h", 1), vm("a", 2)], 5, true), "+h@1 +a@2 =5");
    let more = vec![vm("b", 6), host("h", 7), gone(vm("a", 8))];
    assert_eq!(told(&mut state, more, 8, false), "+b@6 ~h@7 -a@8");
    assert_eq!(state.begin(), Some(8));
    // An overlap is told once.
    let more = vec![host("h", 7), gone(host("h", 9))];
    assert_eq!(told(&mut state, more, 9, false), "-h@9");
    assert_eq!(told(&mut state, vec![], 12, false), ".12");
    assert!(state.forget_revision());
    assert_eq!(state.begin(), None);
    assert_eq!(told(&mut state, vec![host("i", 20)], 20, true), "+i@20 -b@0 =20");
}
