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
    assert!(error.to_string().contains("only for linux/s390x; --platform"), "{error}");
    let other = maker.add("", b"another");
    maker.index = serde_json::json!({"manifests": [mine.clone(), other]});
    let error = Bench::new().refusal(&maker.archive());
    assert!(error.to_string().contains("several images"), "{error}");
    assert!(error.to_string().contains("--image"), "{error}");
    // Half a platform is filled in.
    let mut half = mine;
    half["platform"] = serde_json::json!({"architecture": "amd64"});
    maker.index = serde_json::json!({"manifests": [half]});
    let bench = Bench::new();
    bench.root(&bench.put("image.tar", &maker.archive()));
    let arm = CONFIG.replace("amd64", "arm64");
    let error = Bench::new().refusal(&LayoutMaker::of_config(&layers(), &arm).archive());
    assert!(error.to_string().contains("linux/arm64, not for linux/amd64"), "{error}");
}

/// One name for an image of these platforms, each with its own word in `etc/motd`.
pub(crate) fn of_platforms(platforms: &[&str]) -> LayoutMaker {
    let mut maker = LayoutMaker { blobs: Vec::new(), index: serde_json::Value::Null };
    let mut manifests = Vec::new();
    for platform in platforms {
        let words: Vec<_> = platform.split('/').collect();
        let layer = gzip(&TarMaker::new().file("etc/motd", platform.as_bytes()).finish());
        let config = serde_json::json!({"os": words[0], "architecture": words[1]}).to_string();
        let one = LayoutMaker::of_config(&[layer], &config);
        maker.blobs.extend(one.blobs);
        let mut manifest = one.index["manifests"][0].clone();
        manifest["platform"] = serde_json::json!({"os": words[0], "architecture": words[1]});
        if let Some(variant) = words.get(2) {
            manifest["platform"]["variant"] = (*variant).into();
        }
        manifests.push(manifest);
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
    let inner = maker.document("application/vnd.oci.image.index.v1+json", &index);
    maker.index = serde_json::json!({"schemaVersion": 2, "manifests": [inner]});
    maker
}

#[test]
fn of_several_platforms_the_wanted_one_is_taken_and_what_is_missing_is_refused_with_the_rest() {
    let all =
        ["unknown/unknown", "linux/arm64/v8", "linux/amd64/v3", "linux/amd64", "windows/amd64"];
    let layout = of_platforms(&all);
    for (wanted, found) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"),
    ] {
        let mut bench = Bench::new();
        bench.options.platform = wanted.parse().expect("a platform");
        let made = bench.root(&layout.directory(&bench));
        assert_eq!(cat(&bench.out(), "/etc/motd"), found, "{wanted}");
        let foreign = made.notes.iter().any(|note| matches!(note, Note::OtherMachine(_)));
        assert_eq!(foreign, !bench.options.platform.runs_here(), "{:?}", made.notes);
    }
    for wanted in ["linux/s390x", "linux/arm64/v9", "linux/amd64/v4"] {
        let mut bench = Bench::new();
        bench.options.platform = wanted.parse().expect("a platform");
        let error = bench.refusal(&layout.archive()).to_string();
        let says = format!(
            "it has no image for {wanted}, only for linux/amd64, linux/amd64/v3, linux/arm64, \
             windows/amd64; --platform chooses another"
        );
        assert!(error.ends_with(&says), "{error}");
    }
    // By name and platform.
    let mut named = of_platforms(&["linux/amd64", "linux/arm64"]);
    let other = of_platforms(&["linux/amd64"]);
    named.blobs.extend(other.blobs);
    let called = |name: &str| serde_json::json!({"org.opencontainers.image.ref.name": name});
    named.index["manifests"][0]["annotations"] = called("app:one");
    let mut second = other.index["manifests"][0].clone();
    second["annotations"] = called("app:two");
    named.index["manifests"].as_array_mut().expect("a list").push(second);
    let mut bench = Bench::new();
    bench.options.choice = Some("one".to_owned());
    bench.options.platform = "linux/arm64".parse().expect("a platform");
    bench.root(&bench.put("image.tar", &named.archive()));
    assert_eq!(cat(&bench.out(), "/etc/motd"), "linux/arm64");
    let mut bench = Bench::new();
    bench.options.platform = "linux/arm64".parse().expect("a platform");
    bench.options.choice = Some("two".to_owned());
    let error = bench.refusal(&named.archive()).to_string();
    assert!(error.contains("no image for linux/arm64, only for linux/amd64"), "{error}");
}

#[test]
fn an_image_for_another_machine_gets_no_guest_agent_and_a_note() {
    let mut bench = Bench::new();
    bench.options.guest = Some(bench.put("agent", &crate::testing::small_elf(b"")));
    bench.options.platform = "linux/s390x".parse().expect("a platform");
    let layout = of_platforms(&["linux/s390x"]);
    let made = bench.root(&bench.put("image.tar", &layout.archive()));
    let notes: Vec<_> = made.notes.iter().map(ToString::to_string).collect();
    assert!(notes.iter().any(|note| note.starts_with("it is for linux/s390x:")), "{notes:?}");
    assert!(!exists(&bench.out(), "/usr/lib/banger/banger-guest"));
}

#[test]
fn platforms_of_a_hostile_index_are_neither_long_nor_many_in_a_message() {
    let mut maker = LayoutMaker::of_layers(&layers());
    let one = maker.index["manifests"][0].clone();
    let with = |number: usize| {
        let mut one = one.clone();
        one["digest"] = format!("sha256:{number:064x}").into();
        let architecture = match number {
            0 => "x".repeat(1 << 20),
            1 => "\u{1b}[31m".to_owned(),
            other => format!("kind{other:05}"),
        };
        one["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        one
    };
    maker.index = serde_json::json!({"manifests": (0..5_000).map(with).collect::<Vec<_>>()});
    let error = Bench::new().refusal(&maker.archive()).to_string();
    assert!(error.len() < 2_000 && !error.contains('\u{1b}'), "{} bytes", error.len());
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

/// Archives as other programs than Docker write them, each with `etc/motd` in it.
#[derive(Default)]
struct SavedMaker {
    tar: Option<TarMaker>,
    list: Vec<serde_json::Value>,
}

fn config_of(layers: &[&[u8]]) -> String {
    let ids: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ids}})
        .to_string()
}

impl SavedMaker {
    fn image(mut self, config: (&str, &str), tags: &[&str], layers: &[&str]) -> Self {
        let tar = self.tar.take().unwrap_or_else(TarMaker::new);
        self.tar = Some(tar.file(config.0, config.1.as_bytes()));
        let one = serde_json::json!({"Config": config.0, "RepoTags": tags, "Layers": layers});
        self.list.push(one);
        self
    }

    fn with(mut self, change: impl FnOnce(TarMaker) -> TarMaker) -> Self {
        self.tar = Some(change(self.tar.take().unwrap_or_else(TarMaker::new)));
        self
    }

    fn finish(self) -> Vec<u8> {
        let list = serde_json::Value::from(self.list).to_string();
        self.tar.unwrap_or_else(TarMaker::new).file("manifest.json", list.as_bytes()).finish()
    }
}

#[test]
fn archives_of_every_program_that_saves_images_are_taken() {
    let base = TarMaker::new().file("etc/motd", b"saved").finish();
    let upper = TarMaker::new().file("etc/more", b"more").finish();
    let config = config_of(&[&base, &upper]);
    let digest = sha256(config.as_bytes());
    let packed = |tar: TarMaker| tar.file("a.tar.gz", &gzip(&base)).file("b.tar.gz", &gzip(&upper));
    let names = ["a.tar.gz", "b.tar.gz"];
    let two = config_of(&[&base, &upper, &upper]);
    let empty = config_of(&[&base, b""]);
    for (what, archive) in [
        ("crane, ko, kaniko", {
            let name = format!("sha256:{digest}");
            SavedMaker::default().image((&name, &config), &["x:y"], &names).with(packed)
        }),
        (
            "jib",
            SavedMaker::default().image(("config.json", &config), &["x:y"], &names).with(packed),
        ),
        ("packed layers", {
            let name = format!("{digest}.json");
            SavedMaker::default().image((&name, &config), &[], &names).with(packed)
        }),
        ("a layer that is a link", {
            let layers = ["1/layer.tar", "2/layer.tar", "3/layer.tar"];
            SavedMaker::default().image(("c.json", &two), &[], &layers).with(|tar| {
                let tar = tar.file("1/layer.tar", &base).symlink("3/layer.tar", "../2/layer.tar");
                tar.file("2/layer.tar", &upper)
            })
        }),
        ("an empty layer", {
            let layers = ["1/layer.tar", "2/layer.tar"];
            SavedMaker::default()
                .image(("c.json", &empty), &[], &layers)
                .with(|tar| tar.file("1/layer.tar", &base).file("2/layer.tar", b""))
        }),
    ] {
        let bench = Bench::new();
        let made = bench.root(&bench.put("saved.tar", &archive.finish()));
        assert_eq!(cat(&bench.out(), "/etc/motd"), "saved", "{what}");
        assert!(made.notes.iter().any(|note| matches!(note, Note::Manifest(_))), "{what}");
    }
    let name = format!("sha256:{}", sha256(b"another"));
    let other = SavedMaker::default().image((&name, &config), &[], &names).with(packed).finish();
    let error = Bench::new().refusal(&other);
    assert!(matches!(error, ImportError::Digest { .. }), "{error:?}");
    let swapped = ["b.tar.gz", "a.tar.gz"];
    let other = SavedMaker::default().image(("c.json", &config), &[], &swapped).with(packed);
    let error = Bench::new().refusal(&other.finish());
    assert!(matches!(error, ImportError::Digest { .. }), "{error:?}");
}

#[test]
fn of_several_images_the_one_that_is_named_is_taken() {
    let layer = |text: &str| TarMaker::new().file("etc/motd", text.as_bytes()).finish();
    let (one, two) = (layer("one"), layer("two"));
    let archive = SavedMaker::default()
        .image(("1.json", &config_of(&[&one])), &["app:one", "app:latest"], &["1.tar"])
        .image(("2.json", &config_of(&[&two])), &["app:two"], &["2.tar"])
        .with(|tar| tar.file("1.tar", &one).file("2.tar", &two))
        .finish();
    let error = Bench::new().refusal(&archive).to_string();
    assert!(error.contains("app:one") && error.contains("app:two"), "{error}");
    assert!(error.contains("--image"), "{error}");
    let mut layout = LayoutMaker::of_layers(&[gzip(&one)]);
    let first = layout.index["manifests"][0].clone();
    let second = LayoutMaker::of_layers(&[gzip(&two)]);
    layout.blobs.extend(second.blobs.clone());
    let named = |mut one: serde_json::Value, name: &str| {
        one["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
        one["platform"] = serde_json::json!({"os": "linux", "architecture": "amd64"});
        one
    };
    layout.index = serde_json::json!({"manifests": [
        named(first, "app:one"), named(second.index["manifests"][0].clone(), "app:two"),
    ]});
    let layout = layout.archive();
    let error = Bench::new().refusal(&layout).to_string();
    assert!(error.contains("several images") && error.contains("app:two"), "{error}");
    for source in [&archive, &layout] {
        for (choice, found) in [("app:two", "two"), ("two", "two"), ("app:one", "one")] {
            let mut bench = Bench::new();
            bench.options.choice = Some(choice.to_owned());
            bench.root(&bench.put("image.tar", source));
            assert_eq!(cat(&bench.out(), "/etc/motd"), found, "{choice}");
        }
        let mut bench = Bench::new();
        bench.options.choice = Some("other".to_owned());
        let error = bench.refusal(source).to_string();
        assert!(error.contains("no image \"other\"") && error.contains("app:one"), "{error}");
    }
}

#[test]
fn a_layout_that_was_packed_as_a_directory_is_found_in_it() {
    let maker = LayoutMaker::of_layers(&layers());
    let tar = maker.files().iter().fold(TarMaker::new().directory("oci"), |tar, (name, bytes)| {
        tar.file(&format!("oci/{name}"), bytes)
    });
    let bench = Bench::new();
    bench.root(&bench.put("image.tar", &tar.finish()));
    assert_eq!(cat(&bench.out(), "/etc/motd"), "new");
}

#[test]
fn layers_that_container_runtimes_take_are_taken() {
    let base = || {
        TarMaker::new()
            .directory("usr/bin")
            .entry(b'0', b"usr/bin/sh", b"", 0o755, b"sh")
            .symlink("bin", "usr/bin")
            .file("etc/motd", b"m")
    };
    for (what, layer, path, text) in [
        ("nothing at all", Vec::new(), "/etc/motd", "m"),
        ("an empty gzip stream", gzip(b""), "/etc/motd", "m"),
        ("no end mark", gzip(&TarMaker::new().file("f", b"f").unfinished()), "/f", "f"),
        ("absolute names", TarMaker::new().file("/app/ko", b"k").finish(), "/app/ko", "k"),
        ("the entry /", TarMaker::new().directory("/").file("f", b"f").finish(), "/f", "f"),
        ("a tab in a name", TarMaker::new().file("a\tb", b"").file("f", b"f").finish(), "/f", "f"),
        ("Icon", TarMaker::new().file("Icon\r", b"").file("f", b"f").finish(), "/f", "f"),
        (
            "a label",
            TarMaker::new().entry(b'V', b"l", b"", 0, b"").file("f", b"f").finish(),
            "/f",
            "f",
        ),
        ("usrmerge", TarMaker::new().file("bin/tool", b"t").finish(), "/usr/bin/tool", "t"),
        ("usrmerge link", TarMaker::new().hard_link("sh2", "bin/sh").finish(), "/sh2", "sh"),
        ("a link early", TarMaker::new().hard_link("b", "z").file("z", b"z").finish(), "/b", "z"),
        ("a link absolute", TarMaker::new().hard_link("b", "/etc/motd").finish(), "/b", "m"),
        (
            "climbing",
            TarMaker::new().symlink("y", "../../etc/x").file("f", b"f").finish(),
            "/f",
            "f",
        ),
        ("twice", TarMaker::new().file("L", b"1").file("L", b"2").finish(), "/L", "2"),
        (
            "devices",
            TarMaker::new().entry(b'3', b"dev/null", b"", 0o666, b"").finish(),
            "/etc/motd",
            "m",
        ),
    ] {
        let bench = Bench::new();
        let image = LayoutMaker::of_layers(&[gzip(&base().finish()), layer]);
        bench.root(&bench.put("image.tar", &image.archive()));
        assert_eq!(cat(&bench.out(), path), text, "{what}");
    }
}
