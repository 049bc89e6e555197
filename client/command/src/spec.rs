//! Makes a spec of a file and flags.
//!
//! The file is JSON, YAML or TOML in the protobuf JSON mapping, and one of three things, told
//! apart by its fields: a `VmSpec`; a `CreateVmRequest` (it has `spec`); or a `Vm` as
//! `banger vm get -o json` prints it (it has `spec` and what only a server can say), of which name,
//! spec and wanted state are taken. Flags win over the file. What can go wrong is all in the file:
//! not readable, not one of the formats, or a field that no spec has.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use banger_client::v1::{CreateVmRequest, EgressPolicy, ImageRef, NetworkSpec, VmSpec, WorkDisk};
use serde_json::{Map, Value};

use crate::args::spec::SpecArgs;
use banger_terminal::failure::Failure;
use banger_terminal::output::proto;

/// Fields of a `Vm` that a server sets.
const SET_BY_SERVER: [&str; 9] = [
    "status",
    "generation",
    "revision",
    "etag",
    "createTime",
    "create_time",
    "updateTime",
    "update_time",
    "id",
];

/// What a file asks for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Document {
    /// Name, spec, id and wanted state.
    pub(crate) request: CreateVmRequest,
    /// Of the VM that the document was read from, if it is one.
    pub(crate) etag: String,
}

/// Reads a spec file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Document, Failure> {
    let name = if path == Path::new("-") { "standard input" } else { "the file" };
    let parse = || -> anyhow::Result<Document> {
        let text = contents(path)?;
        document(value(path, &text)?)
    };
    parse().map_err(|error| match path.to_str() {
        Some(path) if path != "-" => Failure::Invalid(format!("{path}: {error:#}")),
        Some(_) | None => Failure::Invalid(format!("{name}: {error:#}")),
    })
}

/// Reads any JSON, YAML or TOML document that is an object.
pub(crate) fn read_struct(path: &Path) -> Result<prost_types::Struct, Failure> {
    let parse = || proto::from_value(value(path, &contents(path)?)?);
    parse().map_err(|error| Failure::Invalid(format!("{}: {error:#}", path.display())))
}

fn contents(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read")?;
        return Ok(without_mark(text));
    }
    std::fs::read_to_string(path).map(without_mark).context("cannot read")
}

/// A text without the mark that some editors put at the beginning of a file. YAML takes it for the
/// end of a document.
fn without_mark(mut text: String) -> String {
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    text
}

/// By the file's ending, else by trying: JSON is also YAML, and TOML is neither.
fn value(path: &Path, text: &str) -> anyhow::Result<Value> {
    anyhow::ensure!(!text.trim().is_empty(), "it is empty");
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let value: Value = match ending {
        "toml" => toml::from_str(text)?,
        "json" => serde_json::from_str(text)?,
        "yaml" | "yml" => yaml_serde::from_str(text)?,
        _ => match yaml_serde::from_str(text) {
            Ok(Value::Object(object)) => Value::Object(object),
            other => match (toml::from_str(text), other) {
                (Ok(value), _) => value,
                (Err(_), Ok(_)) => anyhow::bail!("it is neither a JSON, YAML nor TOML object"),
                (Err(_), Err(error)) => return Err(error).context("neither JSON, YAML nor TOML"),
            },
        },
    };
    anyhow::ensure!(value.is_object(), "it is no object");
    Ok(value)
}

/// Tells the three kinds of document apart.
fn document(value: Value) -> anyhow::Result<Document> {
    let Value::Object(mut object) = value else { anyhow::bail!("it is no object") };
    if !object.contains_key("spec") {
        let whole_request = ["name", "desiredState", "desired_state", "id"];
        if let Some(field) = whole_request.iter().find(|f| object.contains_key(**f)) {
            anyhow::bail!("it has {field:?} but no \"spec\"");
        }
        let spec = proto::from_value(Value::Object(object))?;
        let request = CreateVmRequest { spec: Some(spec), ..CreateVmRequest::default() };
        return Ok(Document { request, ..Document::default() });
    }
    let is_vm =
        ["status", "generation", "etag", "revision"].iter().any(|f| object.contains_key(*f));
    let mut etag = String::new();
    if is_vm {
        if let Some(Value::String(text)) = object.get("etag") {
            etag.clone_from(text);
        }
        // The id too: a copy of a VM is another VM.
        object = without(object, &SET_BY_SERVER);
    }
    Ok(Document { request: proto::from_value(Value::Object(object))?, etag })
}

fn without(mut object: Map<String, Value>, fields: &[&str]) -> Map<String, Value> {
    object.retain(|field, _| !fields.contains(&field.as_str()));
    object
}

/// Changes a spec by what flags name; everything else stays.
pub(crate) fn apply(spec: &mut VmSpec, flags: &SpecArgs) -> Result<(), Failure> {
    if let Some(vcpus) = flags.vcpus {
        spec.vcpus = vcpus;
    }
    if let Some(memory) = flags.memory {
        spec.memory_mib = memory;
    }
    if let Some(image) = &flags.image {
        // All of what it boots with is the image's, but for what other flags say.
        (spec.kernel, spec.initrd) = (None, None);
        spec.boot_args.clear();
        spec.root_image = Some(image.clone());
    }
    for (field, flag) in [
        (&mut spec.kernel, &flags.kernel),
        (&mut spec.initrd, &flags.initrd),
        (&mut spec.root_image, &flags.root),
    ] {
        if flag.is_some() {
            field.clone_from(flag);
        }
    }
    if let Some(disk) = flags.disk {
        spec.root_disk_mib = disk;
    }
    if let Some(size_mib) = flags.work_disk {
        spec.work_disk = Some(WorkDisk { size_mib });
    }
    if let Some(boot_args) = &flags.boot_args {
        spec.boot_args.clone_from(boot_args);
    }
    if let Some(path) = &flags.metadata {
        spec.metadata = Some(read_struct(path)?);
    }
    if flags.nat || flags.no_nat {
        let egress = if flags.no_nat { EgressPolicy::None } else { EgressPolicy::Nat };
        spec.network.get_or_insert_with(NetworkSpec::default).set_egress(egress);
    }
    flags.limits.apply(spec);
    spec.labels.extend(flags.labels.iter().cloned());
    if let Some(restart) = flags.restart {
        spec.set_restart_policy(restart);
    }
    Ok(())
}

/// The image that is booted where nothing is said of one.
pub(crate) const DEMO: &str = "demo";

/// What is said then.
pub(crate) const DEMO_NOTE: &str = "No image was named: the demo guest is booted (--image demo).";

/// Boots the demo guest where a spec names no image at all. Answers whether it does.
pub(crate) fn default_to_demo(spec: &mut VmSpec) -> bool {
    let nothing = spec.kernel.is_none() && spec.initrd.is_none() && spec.root_image.is_none();
    if nothing {
        spec.root_image = Some(ImageRef { name: DEMO.to_owned(), sha256: String::new() });
    }
    nothing
}

/// The paths of what flags name, and of labels that are to go.
pub(crate) fn paths(flags: &SpecArgs, removed: &[String]) -> Vec<String> {
    // An image that is named whole brings all that it boots with.
    let whole = flags.image.is_some();
    let named = [
        ("vcpus", flags.vcpus.is_some()),
        ("memory_mib", flags.memory.is_some()),
        ("kernel", whole || flags.kernel.is_some()),
        ("initrd", whole || flags.initrd.is_some()),
        ("root_image", whole || flags.root.is_some()),
        ("root_disk_mib", flags.disk.is_some()),
        ("work_disk", flags.work_disk.is_some()),
        ("boot_args", whole || flags.boot_args.is_some()),
        ("metadata", flags.metadata.is_some()),
        ("network.egress", flags.nat || flags.no_nat),
        ("restart_policy", flags.restart.is_some()),
    ];
    let named = named.into_iter().chain(flags.limits.paths());
    let fields = named.filter(|(_, named)| *named).map(|(field, _)| field.to_owned());
    let labels = flags.labels.iter().map(|(key, _)| key).chain(removed);
    fields
        .chain(labels.map(|key| label_path("labels", key)))
        .map(|path| format!("spec.{path}"))
        .collect()
}

/// The path of one label, whose key may have dots of its own.
pub(crate) fn label_path(field: &str, key: &str) -> String {
    format!("{field}.`{key}`")
}

#[cfg(test)]
mod tests;
