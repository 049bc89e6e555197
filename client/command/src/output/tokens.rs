//! Tokens of callers, as people read them.

use banger_client::v1::{Role, Token};
use jiff::Timestamp;

use banger_terminal::output::table::{Row, columns, plain};
use banger_terminal::text::{age, moment, or_number};

/// The word of its role.
pub(crate) fn role(token: &Token) -> String {
    or_number::<Role>(token.role, |role| match role {
        Role::Unspecified => "",
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    })
}

pub(crate) fn table(tokens: &[Token], now: Timestamp) -> String {
    let row = |token: &Token| -> Row {
        vec![
            plain(&token.name),
            plain(role(token)),
            plain(&token.id),
            plain(moment(token.expire_time, now).unwrap_or_default()),
            plain(moment(token.last_use_time, now).unwrap_or_else(|| "never".to_owned())),
            plain(age(token.create_time, now)),
            plain(&token.created_by),
        ]
    };
    let headers = ["NAME", "ROLE", "ID", "EXPIRES", "LAST USED", "AGE", "BY"];
    columns(&headers, tokens.iter().map(row))
}
