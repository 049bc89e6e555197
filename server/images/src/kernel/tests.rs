use super::*;
use crate::testing::{Bench, gzip, pack_with, small_elf};
use crate::{ErrorClass, Wanted};

/// A bzImage as far as its header says where the payload is.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    const SECTORS: u8 = 3;
    let start = (usize::from(SECTORS) + 1) * 512;
    let mut image = vec![0x90; start + 0x100];
    image[0..2].copy_from_slice(b"MZ");
    image[SETUP_SECTORS] = SECTORS;
    image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
    image[VERSION..VERSION + 2].copy_from_slice(&0x20f_u16.to_le_bytes());
    image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&0x100_u32.to_le_bytes());
    let length = payload.len() as u32;
    image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
    image.extend(payload);
    image.extend([0xcc; 100]);
    image
}

fn kernel() -> Vec<u8> {
    let code: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    small_elf(&code)
}

/// Packed as Linux does it: all but gzip are followed by the size.
fn packed(argv: &[&str], kernel: &[u8]) -> Vec<u8> {
    let mut payload = pack_with(argv, kernel);
    if argv[0] != "gzip" {
        payload.extend((kernel.len() as u32).to_le_bytes());
    }
    payload
}

const PACKERS: [&[&str]; 6] = [
    &["gzip", "-9c"],
    &["bzip2", "-9c"],
    &["xz", "-c", "--check=crc32", "--x86", "--lzma2=dict=32MiB"],
    &["xz", "-c", "--format=lzma"],
    &["lz4", "-l", "-9c"],
    &["zstd", "-19cq"],
];

fn import(bytes: &[u8]) -> Result<Vec<u8>, ImportError> {
    let bench = Bench::new();
    let made = bench.import(&bench.put("kernel", bytes), Wanted::Kernel)?;
    assert_eq!(made.kind, Kind::Kernel);
    Ok(std::fs::read(bench.out()).expect("it was made"))
}

fn refusal(bytes: &[u8]) -> String {
    let error = import(bytes).expect_err("it is no kernel");
    assert_eq!(error.class(), ErrorClass::Refused, "{error:?}");
    error.to_string()
}

#[test]
fn an_elf_kernel_is_taken_as_it_is() {
    assert!(import(&kernel()).expect("it is one") == kernel());
}

#[test]
fn the_elf_file_is_taken_out_of_a_bzimage_however_it_is_packed() {
    for argv in PACKERS {
        let got = import(&bzimage(&packed(argv, &kernel())));
        assert!(got.unwrap_or_else(|e| panic!("{argv:?}: {e} {e:?}")) == kernel(), "{argv:?}");
    }
}

#[test]
fn a_bzimage_that_is_cut_or_changed_is_refused() {
    for argv in PACKERS {
        let payload = packed(argv, &kernel());
        let image = bzimage(&payload);
        refusal(&image[..image.len() - 200]);
        // The payload itself is cut, and the header says so.
        refusal(&bzimage(&payload[..payload.len() / 2]));
        if argv[0] != "gzip" {
            let mut wrong = payload;
            let at = wrong.len() - 4;
            wrong[at] ^= 1;
            assert!(refusal(&bzimage(&wrong)).contains("size it says"), "{argv:?}");
        }
    }
    let head = &bzimage(b"")[..0x230];
    assert!(refusal(head).contains("ends too early"));
}

#[test]
fn a_kernel_larger_than_the_limit_is_refused() {
    let mut bench = Bench::new();
    bench.options.limits.boot_bytes = 1 << 20;
    let image = bench.put("kernel", &bzimage(&packed(&["gzip", "-c"], &kernel())));
    let error = bench.import(&image, Wanted::Kernel).expect_err("it is too large");
    assert!(error.to_string().ends_with("more than 1048576 bytes unpacked"), "{error}");
}

#[test]
fn what_is_no_kernel_for_this_machine_is_refused() {
    let change = |at: usize, byte: u8| {
        let mut elf = small_elf(b"");
        elf[at] = byte;
        refusal(&elf)
    };
    assert!(change(18, 183).contains("not for x86-64"), "an ARM kernel");
    assert!(change(4, 1).contains("no 64-bit ELF"), "a 32-bit one");
    assert!(change(16, 1).contains("nothing that runs"), "an object file");
    assert!(change(64, 3).contains("nothing to start"), "only an interpreter");
    let mut interpreted = small_elf(&[0; 56]);
    interpreted[56] = 2;
    interpreted[120] = 3;
    assert!(refusal(&interpreted).contains("program for a running system"));
    let mut short = small_elf(&[0; 100]);
    short.truncate(150);
    assert!(refusal(&short).contains("ends before its segments do"));
    assert!(refusal(b"just words").contains("nothing that is known"));
    assert!(refusal(&bzimage(&gzip(b"no kernel"))).contains("no 64-bit ELF"));
}

#[test]
fn an_initial_ram_disk_is_taken_as_it_is_packed_or_not() {
    let mut plain = b"070701".to_vec();
    plain.extend([b'0'; 600]);
    for bytes in [plain.clone(), gzip(&plain), pack_with(&["zstd", "-cq"], &plain)] {
        for wanted in [Wanted::Auto, Wanted::Initrd] {
            let bench = Bench::new();
            let made = bench.import(&bench.put("initrd", &bytes), wanted).expect("it is one");
            assert_eq!(made.kind, Kind::Initrd);
            assert!(std::fs::read(bench.out()).expect("it was made") == bytes);
        }
    }
    let bench = Bench::new();
    let error = bench.import(&bench.put("initrd", &kernel()), Wanted::Initrd).expect_err("no");
    assert!(
        error.to_string().contains("it is an ELF file or a bzImage; wanted is a cpio"),
        "{error}"
    );
}
