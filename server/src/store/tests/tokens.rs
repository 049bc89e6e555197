//! Tokens of callers over a restart.

use super::*;
use crate::model::fixtures::record_of;
use crate::model::ledger::{CreateToken, NoteTokenUses, RevokeToken};
use crate::model::token::TokenRecord;

#[tokio::test]
async fn tokens_and_their_last_uses_outlive_a_restart_and_those_taken_back_do_not() {
    let fixture = fixture().await;
    for (number, name) in [(1, "ci"), (2, "gone"), (3, "idle")] {
        let create = CreateToken(Arc::new(record_of(number, name)));
        fixture.store.submit(caller(), create).await.expect("kept");
    }
    let revoke = RevokeToken { token: "gone".to_owned(), keep_made: false };
    fixture.store.submit(caller(), revoke).await.expect("it is there");
    let uses = vec![(record_of(1, "ci").id, at(5))];
    fixture.store.submit(caller(), NoteTokenUses { uses }).await.expect("noted");
    let (open, _directory) = fixture.reopened().await;
    let used = TokenRecord { last_used_at: Some(at(5)), ..record_of(1, "ci") };
    let tokens: Vec<TokenRecord> = open.tokens().map(|token| TokenRecord::clone(token)).collect();
    assert_eq!(tokens, [used, record_of(3, "idle")]);
}

#[tokio::test]
async fn tokens_are_known_over_a_restart_by_the_token_they_were_made_with_and_go_with() {
    let fixture = fixture().await;
    let first = record_of(1, "ci");
    let made_with = |maker: &TokenRecord, number, name| TokenRecord {
        created_by_token: Some(maker.id.clone()),
        goes_with: Some(maker.id.clone()),
        ..record_of(number, name)
    };
    let second = made_with(&first, 2, "bot");
    let third = made_with(&second, 3, "deep");
    for kept in [&first, &second, &third] {
        let create = CreateToken(Arc::new(kept.clone()));
        fixture.store.submit(caller(), create).await.expect("kept");
    }
    let revoke = RevokeToken { token: "bot".to_owned(), keep_made: true };
    fixture.store.submit(caller(), revoke).await.expect("it is there");
    let (open, directory) = fixture.reopened().await;
    let left = TokenRecord { goes_with: Some(first.id.clone()), ..third };
    let tokens: Vec<TokenRecord> = open.tokens().map(|token| TokenRecord::clone(token)).collect();
    assert_eq!(tokens, [first, left]);
    let fixture = started(open, directory);
    let revoke = RevokeToken { token: "ci".to_owned(), keep_made: false };
    let gone = fixture.store.submit(caller(), revoke).await.expect("it is there");
    assert_eq!(gone.made.len(), 1);
    assert_eq!(fixture.store.tokens(), []);
}

#[tokio::test]
async fn a_join_token_is_known_over_a_restart_by_the_token_it_was_made_with() {
    let fixture = fixture().await;
    let maker = record_of(1, "ci");
    let made = JoinToken { created_by_token: Some(maker.id.clone()), ..token("t") };
    fixture.store.submit(caller(), CreateToken(Arc::new(maker))).await.expect("kept");
    for kept in [made, token("nobodys")] {
        fixture.store.submit(caller(), CreateJoinToken(kept)).await.expect("kept");
    }
    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    let revoke = RevokeToken { token: "ci".to_owned(), keep_made: false };
    fixture.store.submit(caller(), revoke).await.expect("it is there");
    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    fixture.store.submit(caller(), join(1, "t", "one")).await.expect_err("it went");
    fixture.store.submit(caller(), join(2, "nobodys", "two")).await.expect("joined");
}
