//! What begins and is audited, when its caller goes away meanwhile.

use futures_util::{FutureExt as _, poll};

use super::*;
use crate::api::auth::LetIn;
use crate::api::uses::Use;
use crate::model::audit::{AuditObject, AuditStep, AuditedKind};
use crate::model::caller::{CallOf, Caller};
use crate::store::AuditLook;

fn calling() -> Caller {
    let call = CallOf { method: "banger.v1.VmService/ExecVm", peer: None };
    Caller { call: Some(call.into()), ..crate::model::fixtures::caller() }
}

impl Fixture {
    fn begin(&self, caller: Caller) -> impl Future<Output = Result<Use, Status>> + use<> {
        let api = self.api.clone();
        async move {
            let object = AuditObject::new(AuditedKind::Vm, ID, "web");
            Use::begin(&api, &caller, &LetIn::default(), object, Vec::new()).await
        }
    }

    /// The oldest first.
    async fn steps(&self) -> Vec<AuditStep> {
        self.api.endings.written().await;
        let look = AuditLook { limit: 10, ..AuditLook::default() };
        let records = self.api.store.audit(&look).await.expect("readable").records;
        records.into_iter().rev().map(|stored| stored.record.step).collect()
    }
}

#[tokio::test]
async fn what_is_given_up_while_its_beginning_is_written_has_both_records() {
    let fixture = fixture().await;
    let mut beginning = fixture.begin(calling()).boxed();
    assert!(poll!(&mut beginning).is_pending());
    drop(beginning);
    assert_eq!(fixture.steps().await, [AuditStep::Began, AuditStep::Ended]);
}

#[tokio::test]
async fn there_is_no_end_of_what_was_given_up_and_never_began() {
    let fixture = fixture().await;
    let gone = calling();
    gone.ended.set();
    let mut beginning = fixture.begin(gone.clone()).boxed();
    assert!(poll!(&mut beginning).is_pending());
    drop(beginning);
    assert_eq!(fixture.steps().await, []);
    let refused = fixture.begin(gone).await.expect_err("whoever calls is gone");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(fixture.steps().await, []);
}

#[tokio::test]
async fn a_use_ends_once() {
    let fixture = fixture().await;
    let mut using = fixture.begin(calling()).await.expect("it begins");
    using.end::<()>(Err(&Status::aborted("no")));
    using.end(Ok(()));
    drop(using);
    assert_eq!(fixture.steps().await, [AuditStep::Began, AuditStep::Ended]);
}
