use super::*;

const WHOLE: &str = r#"{"architecture": "amd64", "os": "linux", "config": {
    "Entrypoint": ["/entry.sh"], "Cmd": ["serve", "--port=1"], "User": "web:disk",
    "Env": ["PATH=/app/bin", "A=b=c", "nonsense"], "WorkingDir": "/app", "Labels": {"x": "y"}}}"#;

#[test]
fn a_configuration_is_read_whole_or_bare() {
    let config = ImageConfig::read(WHOLE).expect("it is one");
    assert_eq!(config.words(), ["/entry.sh", "serve", "--port=1"]);
    assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/app", "web:disk"));
    let bare = ImageConfig::read(r#"{"Cmd": ["/bin/sh"], "Entrypoint": null}"#).expect("it is one");
    assert_eq!(bare.words(), ["/bin/sh"]);
    assert!(ImageConfig::read("{}").expect("it is one").words().is_empty());
    ImageConfig::read(r#"{"config": {"Cmd": "not a list"}}"#).expect_err("it is none");
}

#[test]
fn what_the_image_says_of_its_environment_comes_last() {
    let config = ImageConfig::read(WHOLE).expect("it is one");
    let variables = config.variables(Path::new("/srv"));
    let last = |name: &str| {
        variables.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (last("PATH"), last("A"), last("HOME")),
        (Some("/app/bin"), Some("b=c"), Some("/srv"))
    );
}
