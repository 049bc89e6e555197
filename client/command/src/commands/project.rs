//! `banger project`: made, listed, taken away; and `banger whoami`.

use banger_client::v1::{
    CreateProjectRequest, DeleteProjectRequest, ListProjectsResponse, Project,
};

use super::for_each;
use crate::args::project::ProjectCommand;
use crate::clock::now;
use crate::output::tokens::role_word;
use crate::session::Session;
use banger_terminal::ask::confirm;
use banger_terminal::failure::Failure;
use banger_terminal::output::table::{columns, plain};
use banger_terminal::text::{age, clean, moment};

pub(super) async fn run(session: &Session, command: ProjectCommand) -> Result<(), Failure> {
    let api = &session.client.projects();
    let (projects, outcome) = match command {
        ProjectCommand::Create { names } => {
            let make = |name: String| async move {
                Ok(api.create(CreateProjectRequest { name, ..Default::default() }).await?)
            };
            for_each(&names, make).await
        }
        ProjectCommand::Ls => (api.list_all().await?, Ok(())),
        ProjectCommand::Rm { names, allow_missing, yes } => {
            let what = format!("take away the projects {} and their tokens", names.join(", "));
            confirm(&what, yes)?;
            let remove = |name: String| async move {
                let request = DeleteProjectRequest { name, allow_missing, ..Default::default() };
                Ok(api.delete(request).await?)
            };
            let (gone, outcome) = for_each(&names, remove).await;
            // What is not there has no name.
            (gone.into_iter().filter(|project| !project.name.is_empty()).collect(), outcome)
        }
    };
    print(session, projects)?;
    outcome
}

fn print(session: &Session, projects: Vec<Project>) -> Result<(), Failure> {
    let message = ListProjectsResponse { projects, ..ListProjectsResponse::default() };
    session.printer.whole(
        &message,
        |m| m.projects.iter().map(|project| project.name.clone()).collect(),
        |m| {
            if m.projects.is_empty() {
                return String::new();
            }
            let row = |project: &Project| {
                vec![
                    plain(&project.name),
                    plain(project.vm_count.to_string()),
                    plain(project.image_count.to_string()),
                    plain(age(project.create_time, now())),
                    plain(&project.created_by),
                ]
            };
            columns(&["NAME", "VMS", "IMAGES", "AGE", "BY"], m.projects.iter().map(row))
        },
    )
}

pub(super) async fn whoami(session: &Session) -> Result<(), Failure> {
    let who = session.client.tokens().who_am_i().await?;
    session.printer.whole(
        &who,
        |who| vec![who.principal.clone()],
        |who| {
            let role = role_word(who.role);
            let of = match &*who.project {
                "" => "the whole fleet".to_owned(),
                project => format!("project {}", clean(project)),
            };
            let until = moment(who.expire_time, now());
            let until = until.map(|at| format!(", until {at}")).unwrap_or_default();
            let by = match &*who.token_id {
                "" => String::new(),
                id => format!(" (token {})", clean(id)),
            };
            format!("{} is {role} of {of}{until}{by}\n", clean(&who.principal))
        },
    )
}
