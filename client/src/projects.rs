//! The calls about projects, one to one, and who the caller is.

use banger_proto::v1::project_service_client::ProjectServiceClient;
use banger_proto::v1::{
    CreateProjectRequest, DeleteProjectRequest, GetProjectRequest, ListProjectsRequest, Project,
    UpdateProjectRequest,
};

use crate::connect::{Link, Transport};
use crate::error::{Call, ClientError};

/// The calls about projects. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Projects {
    link: Link,
    rpc: ProjectServiceClient<Transport>,
}

impl Projects {
    pub(crate) fn over(link: Link) -> Self {
        let rpc = ProjectServiceClient::new(link.transport.clone());
        Self { link, rpc }
    }

    /// Makes a project.
    ///
    /// # Errors
    /// `PROJECT_NAME_TAKEN`, a bad name, `NOT_PERMITTED`.
    pub async fn create(&self, request: CreateProjectRequest) -> Result<Project, ClientError> {
        self.link
            .change("CreateProject", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.create_project(r).await }
            })
            .await
    }

    /// Gives a project another quota.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`, `NOT_PERMITTED`.
    pub async fn update(&self, request: UpdateProjectRequest) -> Result<Project, ClientError> {
        self.link
            .change("UpdateProject", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.update_project(r).await }
            })
            .await
    }

    /// One project, with what is used of what it may have. An empty name: the caller's own.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn get(&self, name: &str) -> Result<Project, ClientError> {
        let mut rpc = self.rpc.clone();
        let request = GetProjectRequest { name: name.to_owned() };
        self.link
            .unary(Call::read("GetProject"), request, |r| async move { rpc.get_project(r).await })
            .await
    }

    /// Reads all pages, by name.
    ///
    /// # Errors
    /// The server is not reached.
    pub async fn list_all(&self) -> Result<Vec<Project>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListProjectsRequest { page_size: 500, page_token };
            let mut rpc = self.rpc.clone();
            let page = self
                .link
                .unary(Call::read("ListProjects"), request, |r| async move {
                    rpc.list_projects(r).await
                })
                .await?;
            all.extend(page.projects);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                all.sort_by(|a, b| a.name.cmp(&b.name));
                return Ok(all);
            }
        }
    }

    /// Takes away a project that is empty, and the tokens of its callers with it.
    ///
    /// # Errors
    /// `PROJECT_NOT_EMPTY`, `PROJECT_NOT_FOUND` unless `allow_missing`, `NOT_PERMITTED`.
    pub async fn delete(&self, request: DeleteProjectRequest) -> Result<Project, ClientError> {
        self.link
            .change("DeleteProject", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.delete_project(r).await }
            })
            .await
    }
}
