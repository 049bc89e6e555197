//! What an ELF file is: a kernel, a static program, a module. Headers are read piece by piece, so
//! a file of any length takes little memory.

use std::fs::File;
use std::path::Path;

use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadCache, ReadRef};

use crate::ImportError;

pub(crate) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF")
}

/// What of an ELF file matters here.
struct Program {
    dynamic: bool,
}

/// Checks that it is a whole x86-64 program; inside is what is wrong, in words.
fn read_program<'data>(data: impl ReadRef<'data>) -> Result<Program, String> {
    let bad = |error: object::Error| format!("it is no good ELF file: {error}");
    let length = data.len().map_err(|()| "it cannot be read".to_owned())?;
    let header: &FileHeader64<Endianness> =
        FileHeader64::parse(data).map_err(|_| "it is no 64-bit ELF file".to_owned())?;
    let endian = header.endian().map_err(bad)?;
    if !header.is_little_endian() || header.e_machine(endian) != elf::EM_X86_64 {
        return Err("it is not for x86-64".to_owned());
    }
    if !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
        return Err("it is an ELF file, but nothing that runs".to_owned());
    }
    let mut loaded = false;
    let mut dynamic = false;
    for segment in header.program_headers(endian, data).map_err(bad)? {
        let (offset, size) = segment.file_range(endian);
        if offset.checked_add(size).is_none_or(|end| end > length) {
            return Err("it ends before its segments do".to_owned());
        }
        loaded |= segment.p_type(endian) == elf::PT_LOAD && size > 0;
        dynamic |= segment.p_type(endian) == elf::PT_INTERP;
    }
    if !loaded || header.e_entry(endian) == 0 {
        return Err("it has nothing to start".to_owned());
    }
    Ok(Program { dynamic })
}

/// A kernel: nothing that asks for a dynamic linker.
pub(crate) fn check_kernel(file: &File, from: &str) -> Result<(), ImportError> {
    let unusable = |what: String| ImportError::NotUsable {
        from: from.to_owned(),
        what: format!("as a kernel, {what}"),
    };
    match read_program(&ReadCache::new(file)) {
        Ok(Program { dynamic: false }) => Ok(()),
        Ok(Program { dynamic: true }) => {
            Err(unusable("it is a program for a running system".to_owned()))
        }
        Err(what) => Err(unusable(what)),
    }
}

/// A program that runs in any image: x86-64 and static. Answers with its length in bytes.
pub(crate) fn check_agent(path: &Path) -> Result<u64, ImportError> {
    let from = path.display().to_string();
    let file = File::open(path);
    let file = file.map_err(|source| ImportError::Read { from: from.clone(), source })?;
    check_static(&ReadCache::new(&file), &from)?;
    let found = file.metadata();
    Ok(found.map_err(|source| ImportError::Read { from, source })?.len())
}

/// See [`check_agent`].
pub(crate) fn check_static<'data>(
    data: impl ReadRef<'data>,
    from: &str,
) -> Result<(), ImportError> {
    let what = match read_program(data) {
        Ok(Program { dynamic: false }) => return Ok(()),
        Ok(Program { dynamic: true }) => "it is linked dynamically".to_owned(),
        Err(what) => what,
    };
    let what = format!("as a program for every guest, {what}");
    Err(ImportError::NotUsable { from: from.to_owned(), what })
}

/// The most modules that one needs: those of Linux that need most need about thirty.
const MOST_NEEDED: usize = 256;

/// The longest name of a module (`MODULE_NAME_LEN` of Linux).
const LONGEST_NAME: usize = 56;

/// The modules that a module needs, as its `.modinfo` says (depmod(8)); `None` if it is none, or
/// needs more than any.
pub(crate) fn depends(module: &[u8]) -> Option<Vec<String>> {
    let header: &FileHeader64<Endianness> = FileHeader64::parse(module).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, module).ok()?;
    let (_, modinfo) = sections.section_by_name(endian, b".modinfo")?;
    let words = modinfo.data(endian, module).ok()?;
    let named = words.split(|byte| *byte == 0).find_map(|word| word.strip_prefix(b"depends="));
    let text = String::from_utf8_lossy(named.unwrap_or_default());
    let named = text.split(',').filter(|name| !name.is_empty());
    let names: Vec<_> = named.take(MOST_NEEDED + 1).map(module_name).collect();
    let are_names = names.iter().all(|name| name.len() <= LONGEST_NAME);
    (names.len() <= MOST_NEEDED && are_names).then_some(names)
}

/// Names of modules are written with `-` or `_`, and mean the same.
pub(crate) fn module_name(name: &str) -> String {
    name.replace('-', "_")
}
