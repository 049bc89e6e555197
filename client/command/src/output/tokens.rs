//! Tokens of callers, as people read them.

use banger_client::v1::{Role, Token};
use jiff::Timestamp;

use banger_terminal::output::table::{Row, columns, plain};
use banger_terminal::text::{age, clean, moment, or_number};

/// The word of its role.
fn role(token: &Token) -> String {
    role_word(token.role)
}

/// The same with what it is a role of, where that is one project.
pub(crate) fn rights(token: &Token) -> String {
    match &*token.project {
        "" => role(token),
        project => format!("{} of project {}", role(token), clean(project)),
    }
}

/// Who holds it, as the history says it.
pub(crate) fn principal(token: &Token) -> String {
    match &*token.project {
        "" => token.name.clone(),
        project => format!("{project}/{}", token.name),
    }
}

pub(crate) fn role_word(role: i32) -> String {
    or_number::<Role>(role, |role| match role {
        Role::Unspecified => "",
        Role::Viewer => "viewer",
        Role::Developer => "developer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    })
}

/// Who made it, and with which token: the name alone may be another's by now. The first half of an
/// id tells tokens apart.
fn maker(token: &Token) -> String {
    let id: String = token.created_by_token.chars().take(12).collect();
    if id.is_empty() { token.created_by.clone() } else { format!("{} ({id})", token.created_by) }
}

/// That a token is taken back, and what became of those that were made with it.
pub(crate) fn gone(token: &Token, kept: bool) -> String {
    let mut text = format!("{} is taken back\n", clean(&principal(token)));
    let what = if kept { "was made with it and stays" } else { "went with it" };
    for made in &token.made {
        text += &format!("  {}  {}  {what}\n", clean(&made.id), clean(&made.name));
    }
    let more = u64::from(token.made_count).saturating_sub(token.made.len() as u64);
    if more > 0 {
        text += &format!("  and {more} more\n");
    }
    match token.join_token_count {
        0 => {}
        1 => text += "  1 join token that no host has used went with it\n",
        count => text += &format!("  {count} join tokens that no host has used went with it\n"),
    }
    text
}

pub(crate) fn table(tokens: &[Token], now: Timestamp) -> String {
    let row = |token: &Token| -> Row {
        vec![
            plain(principal(token)),
            plain(role(token)),
            plain(&token.id),
            plain(moment(token.expire_time, now).unwrap_or_default()),
            plain(moment(token.last_use_time, now).unwrap_or_else(|| "never".to_owned())),
            plain(age(token.create_time, now)),
            plain(maker(token)),
        ]
    };
    let headers = ["NAME", "ROLE", "ID", "EXPIRES", "LAST USED", "AGE", "BY"];
    columns(&headers, tokens.iter().map(row))
}
