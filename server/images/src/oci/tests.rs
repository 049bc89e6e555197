use std::path::PathBuf;

use super::*;
use crate::testing::{Bench, TarMaker, cat, exists, gzip, pack_with, sha256};
use crate::{ErrorClass, Note, Wanted};

/// A layout that is being put together.
#[derive(Clone)]
pub(crate) struct LayoutMaker {
    pub(crate) blobs: Vec<(String, Vec<u8>)>,
    pub(crate) index: serde_json::Value,
}

const CONFIG: &str = r#"{"os":"linux","architecture":"amd64","created":"2024-01-01T00:00:00Z",
    "config":{"Entrypoint":["/bin/app"],"Cmd":["-v"],"Env":["A=1"],"WorkingDir":"/srv",
    "User":"7:8","Labels":{"x":"y"}},"rootfs":{"type":"layers","diff_ids":[]}}"#;

impl LayoutMaker {
    pub(crate) fn of_layers(layers: &[Vec<u8>]) -> Self {
        Self::of_config(layers, CONFIG)
    }

    fn of_config(layers: &[Vec<u8>], config: &str) -> Self {
        let mut maker = Self { blobs: Vec::new(), index: serde_json::Value::Null };
        let config = maker.add("application/vnd.oci.image.config.v1+json", config.as_bytes());
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        let layers: Vec<_> = layers.iter().map(|layer| maker.add(kind, layer)).collect();
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        let manifest = maker.document("application/vnd.oci.image.manifest.v1+json", &manifest);
        maker.index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
        maker
    }

    /// Adds a blob; answers with its descriptor.
    pub(crate) fn add(&mut self, media_type: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = sha256(bytes);
        self.blobs.push((digest.clone(), bytes.to_vec()));
        serde_json::json!({
            "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len(),
        })
    }

    pub(crate) fn document(
        &mut self,
        media_type: &str,
        value: &serde_json::Value,
    ) -> serde_json::Value {
        self.add(media_type, value.to_string().as_bytes())
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), self.index.to_string().into_bytes()),
        ];
        let mut blobs = self.blobs.clone();
        blobs.sort();
        blobs.dedup();
        files
            .extend(blobs.into_iter().map(|(name, bytes)| (format!("blobs/sha256/{name}"), bytes)));
        files
    }

    fn archive(&self) -> Vec<u8> {
        let files = self.files();
        files.iter().fold(TarMaker::new(), |tar, (name, bytes)| tar.file(name, bytes)).finish()
    }

    fn directory(&self, bench: &Bench) -> PathBuf {
        for (name, bytes) in self.files() {
            bench.put(&format!("layout/{name}"), &bytes);
        }
        bench.dir.path().join("layout")
    }
}

fn layers() -> Vec<Vec<u8>> {
    let base =
        TarMaker::new().file("etc/motd", b"old").file("etc/gone", b"").file("bin/app", b"app");
    let upper = TarMaker::new().file("etc/motd", b"new").file("etc/.wh.gone", b"");
    vec![gzip(&base.finish()), pack_with(&["zstd", "-cq"], &upper.finish())]
}

#[test]
fn a_layout_is_flattened_from_a_directory_and_from_an_archive() {
    let maker = LayoutMaker::of_layers(&layers());
    let mut digests = Vec::new();
    let archive = maker.archive();
    for source in [None, Some(archive.clone()), Some(gzip(&archive))] {
        let bench = Bench::new();
        let path = match source {
            None => maker.directory(&bench),
            Some(bytes) => bench.put("image.tar", &bytes),
        };
        let made = bench.root(&path);
        let out = bench.out();
        assert_eq!(cat(&out, "/etc/motd"), "new");
        assert!(!exists(&out, "/etc/gone") && exists(&out, "/bin/app"));
        let told: serde_json::Value =
            serde_json::from_str(&cat(&out, "/etc/banger/oci.json")).expect("it is JSON");
        assert_eq!(told["Entrypoint"][0], "/bin/app");
        assert_eq!((&told["WorkingDir"], &told["User"]), (&"/srv".into(), &"7:8".into()));
        assert!(told.get("Labels").is_none(), "{told}");
        let manifest = |note: &Note| matches!(note, Note::Manifest(d) if is_digest(d));
        assert!(made.notes.iter().any(manifest), "{:?}", made.notes);
        digests.push(made.sha256_hex());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

#[test]
fn what_docker_save_writes_is_read_too() {
    let layer = TarMaker::new().file("etc/motd", b"saved").finish();
    let config = format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["sha256:{}"]}}}}"#,
        sha256(&layer)
    );
    let name = format!("{}.json", sha256(config.as_bytes()));
    let list =
        |layer: &str| format!(r#"[{{"Config":"{name}","RepoTags":null,"Layers":["{layer}"]}}]"#);
    let archive = |bytes: &[u8]| {
        TarMaker::new()
            .file(&name, config.as_bytes())
            .file("1/layer.tar", bytes)
            .file("manifest.json", list("1/layer.tar").as_bytes())
            .finish()
    };
    let bench = Bench::new();
    bench.root(&bench.put("saved.tar", &archive(&layer)));
    assert_eq!(cat(&bench.out(), "/etc/motd"), "saved");

    let other = TarMaker::new().file("etc/motd", b"evil!").finish();
    let error = Bench::new().refusal(&archive(&other));
    assert!(matches!(error, ImportError::Digest { .. }), "{error:?}");
}

#[test]
fn blobs_that_are_not_what_their_digest_says_are_refused() {
    let maker = LayoutMaker::of_layers(&layers());
    for place in 0..maker.blobs.len() {
        let mut changed = maker.clone();
        let bytes = &mut changed.blobs[place].1;
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let error = Bench::new().refusal(&changed.archive());
        assert!(matches!(error, ImportError::Digest { .. }), "{place}: {error:?}");
        assert_eq!(error.class(), ErrorClass::Refused);
        let mut lost = maker.clone();
        lost.blobs.remove(place);
        let error = Bench::new().refusal(&lost.archive());
        assert!(error.to_string().contains("it has no \"blobs/sha256/"), "{error}");
    }
    let mut wrong_size = maker;
    wrong_size.index["manifests"][0]["size"] = 1.into();
    let error = Bench::new().refusal(&wrong_size.archive());
    assert!(error.to_string().contains("does not have the size it says"), "{error}");
}

#[test]
fn a_digest_that_is_a_path_leads_nowhere() {
    for digest in ["sha256:../../../../etc/passwd", "../secret", "sha512:00", ""] {
        let mut maker = LayoutMaker::of_layers(&layers());
        maker.index["manifests"][0]["digest"] = digest.into();
        let error = Bench::new().refusal(&maker.archive());
        assert!(error.to_string().contains("digests other than SHA-256"), "{error}");
    }
    // Nor does a blob that is a link out of the layout.
    let maker = LayoutMaker::of_layers(&layers());
    let bench = Bench::new();
    let path = maker.directory(&bench);
    let blob = path.join("blobs/sha256").join(&maker.blobs[1].0);
    std::fs::rename(&blob, bench.dir.path().join("outside")).expect("it can be moved");
    std::os::unix::fs::symlink("../../../outside", &blob).expect("a symbolic link");
    assert!(bench.import(&path, Wanted::Root).is_err());
}

#[test]
fn the_image_for_this_kind_of_machine_is_chosen() {
    let mut maker = LayoutMaker::of_layers(&layers());
    let mine = maker.index["manifests"][0].clone();
    let with = |mut one: serde_json::Value, architecture: &str| {
        one["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        one
    };
    let index = serde_json::json!({"manifests": [
        with(serde_json::json!({"digest": format!("sha256:{}", "0".repeat(64)), "size": 1}), "arm64"),
        with(mine.clone(), "amd64"),
    ]});
    let inner = maker.document("application/vnd.oci.image.index.v1+json", &index);
    maker.index = serde_json::json!({"manifests": [inner]});
    let bench = Bench::new();
    bench.root(&bench.put("image.tar", &maker.archive()));

    maker.index = serde_json::json!({"manifests": [with(mine.clone(), "s390x")]});
    let error = Bench::new().refusal(&maker.archive());
    assert!(error.to_string().contains("only [\"linux/s390x\"]"), "{error}");
    maker.index = serde_json::json!({"manifests": [mine.clone(), mine]});
    let error = Bench::new().refusal(&maker.archive());
    assert!(error.to_string().contains("several images"), "{error}");
    let arm = CONFIG.replace("amd64", "arm64");
    let error = Bench::new().refusal(&LayoutMaker::of_config(&layers(), &arm).archive());
    assert!(error.to_string().contains("linux/arm64, not for linux/amd64"), "{error}");
}

#[test]
fn hostile_layers_and_too_many_of_them_are_refused() {
    let evil = gzip(&TarMaker::new().file("../x", b"").finish());
    let error = Bench::new().refusal(&LayoutMaker::of_layers(&[evil]).archive());
    assert!(matches!(error, ImportError::Refused { .. }), "{error:?}");
    let mut bench = Bench::new();
    bench.options.limits.layers = 1;
    let error = bench.refusal(&LayoutMaker::of_layers(&layers()).archive());
    assert!(error.to_string().ends_with("more than 1 layers"), "{error}");
    let mut maker = LayoutMaker::of_layers(&[]);
    let blob = maker.add("application/vnd.wasm", b"wasm");
    let manifest = serde_json::json!({"config": blob, "layers": [blob]});
    let manifest = maker.document("", &manifest);
    maker.index = serde_json::json!({"manifests": [manifest]});
    let error = Bench::new().refusal(&maker.archive());
    assert!(error.to_string().contains("no container image"), "{error}");
}
