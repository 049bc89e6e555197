//! `banger project`: made, listed, taken away; and `banger whoami`.

use banger_client::v1::{
    CreateProjectRequest, DeleteProjectRequest, ListProjectsResponse, Project, ProjectResources,
    UpdateProjectRequest,
};

use super::for_each;
use crate::args::project::ProjectCommand;
use crate::clock::now;
use crate::output::tokens::role_word;
use crate::session::Session;
use banger_terminal::ask::confirm;
use banger_terminal::failure::Failure;
use banger_terminal::output::table::{columns, plain};
use banger_terminal::text::{age, clean, mebibytes, moment};

pub(super) async fn run(session: &Session, command: ProjectCommand) -> Result<(), Failure> {
    let api = &session.client.projects();
    let (projects, outcome) = match command {
        ProjectCommand::Create { names, quota } => {
            let quota = quota.resources();
            let make = |name: String| async move {
                Ok(api.create(CreateProjectRequest { name, quota, ..Default::default() }).await?)
            };
            for_each(&names, make).await
        }
        ProjectCommand::Update { names, quota } => {
            let quota = quota.resources();
            let change = |name: String| async move {
                Ok(api.update(UpdateProjectRequest { name, quota, ..Default::default() }).await?)
            };
            for_each(&names, change).await
        }
        ProjectCommand::Show { name } => {
            return show(session, &api.get(&name.unwrap_or_default()).await?);
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
                    plain(of(project, |r| r.vms, |n| n.to_string())),
                    plain(of(project, |r| r.vcpus, |n| n.to_string())),
                    plain(of(project, |r| r.memory_mib, mebibytes)),
                    plain(of(project, |r| r.disk_mib, mebibytes)),
                    plain(project.image_count.to_string()),
                    plain(age(project.create_time, now())),
                    plain(&project.created_by),
                ]
            };
            let names = ["NAME", "VMS", "VCPUS", "MEMORY", "DISK", "IMAGES", "AGE", "BY"];
            columns(&names, m.projects.iter().map(row))
        },
    )
}

/// What is used of what is allowed, a line for each.
fn show(session: &Session, project: &Project) -> Result<(), Failure> {
    type Pick = fn(&ProjectResources) -> u64;
    const COUNTED: [(&str, Pick); 5] = [
        ("VMs", |r| r.vms),
        ("vCPUs", |r| r.vcpus),
        ("watches", |r| r.watches),
        ("streams", |r| r.streams),
        ("calls a second", |r| r.calls_per_second),
    ];
    const SIZES: [(&str, Pick); 3] =
        [("memory", |r| r.memory_mib), ("disk", |r| r.disk_mib), ("images", |r| r.image_mib)];
    session.printer.whole(
        project,
        |project| vec![project.name.clone()],
        |project| {
            let row = |what: &str, pick: Pick, write: fn(u64) -> String| {
                let allowed = project.quota.as_ref().map_or(0, pick);
                let allowed = if allowed == 0 { "-".to_owned() } else { write(allowed) };
                let used = write(project.used.as_ref().map_or(0, pick));
                vec![plain(what), plain(used), plain(allowed)]
            };
            let (vms, calls) = COUNTED.split_at(2);
            let counted = |rows: &[(&str, Pick)]| {
                rows.iter().map(|(what, pick)| row(what, *pick, |n| n.to_string())).collect()
            };
            let sizes = SIZES.iter().map(|(what, pick)| row(what, *pick, mebibytes)).collect();
            let rows: [Vec<_>; 3] = [counted(vms), sizes, counted(calls)];
            let table = columns(&["QUOTA", "USED", "ALLOWED"], rows.into_iter().flatten());
            format!("project {}\n\n{table}", clean(&project.name))
        },
    )
}

/// `3/20`: so much is used, of so much; the first alone where nothing bounds it.
fn of(project: &Project, pick: fn(&ProjectResources) -> u64, write: fn(u64) -> String) -> String {
    let used = write(project.used.as_ref().map_or(0, pick));
    match project.quota.as_ref().map_or(0, pick) {
        0 => used,
        allowed => format!("{used}/{}", write(allowed)),
    }
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
