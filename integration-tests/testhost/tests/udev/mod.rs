//! What udev makes of disks that guests wrote, under systemd: nothing, where banger's rule is.
//!
//! The same contents on somebody else's devices are the control: there udev reads them, and takes
//! the label for one of the host's.

use banger_testhost::host::TestHost;

const RULES: &str = include_str!("../../../../deploy/host/udev.rules");

/// Makes a loop device over `$1/image` and a snapshot `$2` of it, as the agent does (`$3`: its
/// words), and prints what udev knows of both, and whether there are partitions of the first.
const DEVICES: &str = r#"
set -e
cp "$4" "$1/image"
truncate -s 4M "$1/store"
base=$(losetup -f --show "$1/image")
store=$(losetup -f --show "$1/store")
size=$(blockdev --getsz "$base")
dmsetup create $3 "$2" --table "0 $size snapshot $base $store P 8"
loop=${base#/dev/}
snapshot=dm-$(dmsetup info -c --noheadings -o minor "$2")
for device in "$loop" "$snapshot"; do
	udevadm trigger --action=change --settle "/sys/class/block/$device"
	echo "== $device"
	udevadm info --query=property "/sys/class/block/$device"
done
ls /dev/disk/by-label 2>/dev/null || true
ls "$base"p* 2>/dev/null || true
dmsetup remove $3 "$2"
losetup -d "$base" "$store"
udevadm settle
"#;

/// The label of a physical volume of LVM (`lib/label/label.h`, `lib/format_text/layout.h`), in the
/// second sector, as `pvcreate` writes it.
fn physical_volume() -> Vec<u8> {
    let mut label = [0; 512];
    label[..8].copy_from_slice(b"LABELONE");
    label[8..16].copy_from_slice(&1_u64.to_le_bytes());
    label[20..24].copy_from_slice(&32_u32.to_le_bytes());
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].fill(b'g');
    // CRC-32 with a beginning of its own, and nothing done to its end.
    let sum = label[20..].iter().fold(0xf597_a6cf_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
        })
    });
    label[16..20].copy_from_slice(&sum.to_le_bytes());
    let mut image = vec![0; 16 << 20];
    image[512..1024].copy_from_slice(&label);
    image
}

/// A table with one partition of Linux, from sector 2048 on.
fn partitions() -> Vec<u8> {
    let mut image = vec![0; 16 << 20];
    image[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x40, 0, 0]);
    image[440..444].copy_from_slice(b"gues");
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

#[test]
fn what_a_guest_wrote_on_its_disk_is_read_by_no_udev_where_the_rule_is() {
    let host = TestHost::start_systemd("udev", &[]).expect("a host");
    let sh = |script: &str| host.sh(script).unwrap_or_else(|why| panic!("{why}"));
    host.write("/usr/lib/udev/rules.d/09-banger.rules", RULES.as_bytes()).expect("written");
    sh("udevadm control --reload; mkdir -p /var/lib/banger-agent /srv/other /srv/made; \
        truncate -s 16M /srv/made/system; mke2fs -q -F -t ext4 -L GUESTS /srv/made/system");
    for (name, image) in [("volume", physical_volume()), ("table", partitions())] {
        host.write(&format!("/srv/made/{name}"), &image).expect("written");
    }
    let devices = |directory: &str, name: &str, words: &str, made: &str| {
        let made = format!("/srv/made/{made}");
        let command = ["sh", "-c", DEVICES, "sh", directory, name, words, &made];
        let ran = host.run(&command).expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(ran.code, 0, "{}{}", text(&ran.stdout), text(&ran.stderr));
        text(&ran.stdout)
    };
    for (made, sign) in [
        ("system", "ID_FS_LABEL=GUESTS"),
        ("volume", "ID_FS_TYPE=LVM2_member"),
        ("table", "ID_PART_TABLE_TYPE=dos"),
    ] {
        let others = devices("/srv/other", "other-disk", "", made);
        assert_eq!(others.matches(sign).count(), 2, "the control: udev reads {made}: {others}");
        // With the words of the agent, and by the rule alone, as if they were forgotten.
        let said = "--noudevsync --noudevrules";
        let all: &[&str] = if made == "system" { &[said, ""] } else { &[said] };
        for words in all {
            let guests = devices("/var/lib/banger-agent", "banger-bg-0191", words, made);
            for sign in ["ID_FS_", "ID_PART_", "LVM2_member", "GUESTS", "loop0p1"] {
                assert!(!guests.contains(sign), "{made}, {words}: {sign} in {guests}");
            }
            let kept_off = guests.matches("SYSTEMD_READY=0").count();
            assert_eq!(kept_off, 2, "{made}, {words}: {guests}");
        }
    }
}
