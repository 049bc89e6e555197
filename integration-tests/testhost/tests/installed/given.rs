//! What an operator is given who follows the pages: a package, a script beside it, and a mirror of
//! Debian.
//!
//! Nothing can be downloaded in the test host. So `openssl` and `curl` are packages of the test's
//! own, and what its curl brings is the VMM that is under test, as a release of Firecracker.

use std::fs;
use std::path::Path;

use super::Installed;

/// Makes a mirror with two packages in the host, and says where it is.
const MIRROR: &str = r#"
mkdir -p /data/debian/curl/usr/bin && cd /data/debian
printf '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\ncp /data/release.tgz "$2"\n' >curl/usr/bin/curl
chmod 755 curl/usr/bin/curl
for name in openssl curl; do
  mkdir -p $name/DEBIAN
  printf 'Package: %s\nVersion: 9\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n' $name >$name/DEBIAN/control
  echo "Description: $name in a test" >>$name/DEBIAN/control
  dpkg-deb --build -Znone $name $name.deb >/dev/null
  { cat $name/DEBIAN/control
    printf 'Filename: ./%s.deb\nSize: %s\n' $name $(stat -c %s $name.deb)
    printf 'SHA256: %s\n\n' $(sha256sum <$name.deb | cut -d' ' -f1); } >>Packages
done
# Nothing here is to outlive a loss of power, and programs that are built for tests are large.
echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/test
rm -f /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/data/debian ./' >/etc/apt/sources.list
"#;

/// Makes an archive as Firecracker's releases are, and prints its checksum.
const RELEASE: &str = r#"
version=$(sed -n 's/^VERSION=//p' /root/get-firecracker.sh) && arch=$(uname -m)
release=release-$version-$arch && mkdir /data/$release
for program in firecracker jailer; do
  cp /data/bin/$program /data/$release/$program-$version-$arch
done
tar -C /data -czf /data/release.tgz $release && rm -r /data/$release
sha256sum /data/release.tgz | cut -d' ' -f1
"#;

/// Puts all of it where the pages copy it to. Answers the checksum of Firecracker's archive.
pub(crate) fn given(host: &Installed) -> String {
    package(host, "0.1.0", "/root/banger_0.1.0_amd64.deb");
    let script = include_bytes!("../../../../deploy/get-firecracker.sh");
    host.host.write("/root/get-firecracker.sh", script).expect("is written");
    host.sh(
        "cd /root && chmod 755 get-firecracker.sh && mkdir deploy && ln get-firecracker.sh deploy/",
    );
    host.sh(MIRROR);
    host.sh(RELEASE)
}

/// The build of `/data/bin` as a Debian package, with the scripts that are shipped.
pub(crate) fn package(host: &Installed, version: &str, file: &str) {
    host.sh("mkdir -p /data/package/DEBIAN /data/package/usr/lib/banger /data/package/usr/bin");
    let control = format!(
        "Package: banger\nVersion: {version}\nArchitecture: amd64\n\
         Maintainer: nobody <nobody@localhost>\nDescription: banger in a test\n"
    );
    for (path, text) in [
        ("DEBIAN/control", &*control),
        ("DEBIAN/postinst", include_str!("../../../../deploy/deb/postinst")),
        ("DEBIAN/prerm", include_str!("../../../../deploy/deb/prerm")),
        ("usr/bin/banger", include_str!("../../../../deploy/deb/banger")),
    ] {
        let path = format!("/data/package/{path}");
        host.host.write(&path, text.as_bytes()).expect("is written");
        host.sh(&format!("chmod 755 {path}"));
    }
    host.sh(&format!(
        "for p in banger banger-server banger-agent; do ln -f /data/bin/$p /data/package/usr/lib/banger/; done; \
         dpkg-deb --build -Znone /data/package {file}"
    ));
}

/// The block of a page that begins so.
pub(crate) fn block(page: &str, begins: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
    let text = fs::read_to_string(path).expect("the page is there");
    let blocks = text.split("\n```").skip(1).step_by(2);
    let found = blocks.filter_map(|block| block.split_once('\n')).find(|b| b.1.starts_with(begins));
    found.unwrap_or_else(|| panic!("{page} has no block that begins with {begins:?}")).1.to_owned()
}

/// The command in a line of a page, without what is said of it.
pub(crate) fn command(line: &str) -> &str {
    line.split(" #").next().unwrap_or(line).trim()
}
