//! Which inode gets which number and which blocks. Pure.

use std::collections::VecDeque;

use super::directory::directory_blocks;
use super::geometry::Geometry;
use super::xattr;
use super::{BLOCK_BYTES, Extent, FIRST_NUMBER, LOST_AND_FOUND, ROOT_NUMBER};
use crate::tree::{Body, Ino, Meta, ROOT, Tree};

/// Hard links of one file, and directories in one directory plus two (`EXT4_LINK_MAX`).
const MOST_LINKS: u32 = 65_000;

/// Targets shorter than this lie in the inode.
pub(super) const SHORT_TARGET_BYTES: usize = 60;

/// Extents in an inode, and in a block of its own.
pub(super) const EXTENTS_IN_INODE: usize = 4;
pub(super) const EXTENTS_IN_BLOCK: usize = 340;

/// Beyond the contents and a quarter more: 64 MiB.
const SPARE_BLOCKS: u64 = 16_384;

/// Where everything is to be.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) geometry: Geometry,
    pub(super) nodes: Vec<Node>,
    /// By inode of the tree: the place in `nodes` and one more; 0 for those without a name.
    places: Vec<u32>,
    pub(super) journal: Vec<Extent>,
    /// The first block that nothing lies in, nor in those after it.
    pub(super) first_free: u32,
}

/// An inode of the file system.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) ino: Ino,
    pub(super) number: u32,
    pub(super) links: u32,
    /// Of a directory: the number of the one that it is in.
    pub(super) parent: u32,
    /// Bytes of contents, as the inode says it.
    pub(super) size: u64,
    pub(super) extents: Vec<Extent>,
    /// Blocks that hold the extents where the inode cannot.
    pub(super) extent_blocks: Vec<u32>,
    pub(super) xattr_block: Option<u32>,
}

/// A tree that is no file system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("it needs {needed_bytes} bytes")]
    TooSmall { needed_bytes: u64 },
    #[error("a file has more than {MOST_LINKS} names")]
    TooManyLinks { name: Vec<u8> },
    #[error("it was stopped")]
    Stopped,
}

/// Whether to go on is asked after so many steps, which take a few milliseconds.
pub(super) const STEPS: usize = 4096;

impl Plan {
    /// Lays out `tree`, which gets a `lost+found`, in `size` bytes, or in as many as it needs and
    /// some more, until `stop` says so.
    pub(crate) fn new(
        tree: &mut Tree,
        size: Option<u64>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, PlanError> {
        ensure_lost_and_found(tree);
        let go_on = |step: usize| match step.is_multiple_of(STEPS) && stop() {
            true => Err(PlanError::Stopped),
            false => Ok(()),
        };
        let (mut nodes, places) = number(tree, &go_on)?;
        for (step, node) in nodes.iter_mut().enumerate() {
            go_on(step)?;
            node.size = size_of(tree, node.ino);
        }
        let needed: u64 = nodes.iter().map(|node| blocks_of(tree, node)).sum();
        let inodes = nodes.len() as u64 + u64::from(FIRST_NUMBER);
        let geometry = match size {
            None => grow_to(needed + needed / 4 + SPARE_BLOCKS, inodes),
            Some(bytes) => Geometry::new(bytes / BLOCK_BYTES, inodes)
                .filter(|geometry| geometry.room() >= needed),
        };
        let too_small = || PlanError::TooSmall {
            needed_bytes: grow_to(needed, inodes)
                .map_or(u64::MAX, |geometry| u64::from(geometry.blocks) * BLOCK_BYTES),
        };
        let geometry = geometry.ok_or_else(too_small)?;
        let mut free = Free { geometry, group: 0, next: geometry.data(0).0 };
        let journal = free.take(geometry.journal_blocks.into()).ok_or_else(too_small)?;
        for (step, node) in nodes.iter_mut().enumerate() {
            go_on(step)?;
            let blocks = contents_blocks(tree, node);
            let taken = (|| {
                node.extents = free.take(blocks)?;
                if node.extents.len() > EXTENTS_IN_INODE {
                    for _ in 0..node.extents.len().div_ceil(EXTENTS_IN_BLOCK) {
                        node.extent_blocks.push(free.take(1)?[0].start);
                    }
                }
                if xattr::needs_block(&tree.inode(node.ino).meta.xattrs) {
                    node.xattr_block = Some(free.take(1)?[0].start);
                }
                Some(())
            })();
            taken.ok_or_else(too_small)?;
        }
        Ok(Self { geometry, nodes, places, journal, first_free: free.next })
    }

    /// Length of the file system in bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        u64::from(self.geometry.blocks) * BLOCK_BYTES
    }

    /// Where an inode of the tree went; `None` if no name leads to it.
    pub(super) fn node(&self, ino: Ino) -> Option<&Node> {
        let place = *self.places.get(ino)?;
        self.nodes.get((place as usize).checked_sub(1)?)
    }

    /// Whether a name leads to an inode of the tree.
    pub(crate) fn holds(&self, ino: Ino) -> bool {
        self.node(ino).is_some()
    }
}

fn ensure_lost_and_found(tree: &mut Tree) {
    let there = tree.entry(ROOT, LOST_AND_FOUND).map(|entry| entry.ino);
    if there.is_none_or(|ino| tree.entries(ino).is_none()) {
        let body = Body::Directory(std::collections::BTreeMap::new());
        let ino = tree.add(Meta::root(0o700, super::MADE_AT.into()), body);
        tree.link(ROOT, LOST_AND_FOUND, ino, 0);
    }
}

/// Numbers by breadth first, names in order: the same tree has the same numbers.
fn number(
    tree: &Tree,
    go_on: &dyn Fn(usize) -> Result<(), PlanError>,
) -> Result<(Vec<Node>, Vec<u32>), PlanError> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut places = vec![0; tree.len()];
    let mut next_number = FIRST_NUMBER + 1;
    let mut queue = VecDeque::from([(ROOT, ROOT_NUMBER)]);
    let node = |ino, number, links, parent| Node {
        ino,
        number,
        links,
        parent,
        size: 0,
        extents: Vec::new(),
        extent_blocks: Vec::new(),
        xattr_block: None,
    };
    nodes.push(node(ROOT, ROOT_NUMBER, 2, ROOT_NUMBER));
    places[ROOT] = 1;
    while let Some((directory, directory_number)) = queue.pop_front() {
        let mut directories = 0;
        for (name, entry) in tree.entries(directory).into_iter().flatten() {
            go_on(nodes.len())?;
            let is_directory = tree.entries(entry.ino).is_some();
            if let Some(place) = (places[entry.ino] as usize).checked_sub(1) {
                nodes[place].links += 1;
                if nodes[place].links > MOST_LINKS {
                    return Err(PlanError::TooManyLinks { name: name.to_vec() });
                }
                continue;
            }
            let number = if directory == ROOT && &**name == LOST_AND_FOUND {
                FIRST_NUMBER
            } else {
                next_number += 1;
                next_number - 1
            };
            nodes.push(node(entry.ino, number, if is_directory { 2 } else { 1 }, directory_number));
            places[entry.ino] = nodes.len() as u32;
            if is_directory {
                directories += 1;
                queue.push_back((entry.ino, number));
            }
        }
        let place = places[directory] as usize - 1;
        let links = 2 + directories;
        // Past the limit ext4 counts no more, which it says with a 1 (`dir_nlink`).
        nodes[place].links = if links >= MOST_LINKS { 1 } else { links };
    }
    Ok((nodes, places))
}

fn size_of(tree: &Tree, ino: Ino) -> u64 {
    match &tree.inode(ino).body {
        Body::Directory(entries) => {
            u64::from(directory_blocks(entries.keys().map(|name| name.len()))) * BLOCK_BYTES
        }
        Body::File { size, .. } => *size,
        Body::Symlink(target) => target.len() as u64,
        Body::Fifo | Body::CharDevice(..) | Body::BlockDevice(..) => 0,
    }
}

fn contents_blocks(tree: &Tree, node: &Node) -> u64 {
    match &tree.inode(node.ino).body {
        Body::Symlink(target) if target.len() < SHORT_TARGET_BYTES => 0,
        _ => node.size.div_ceil(BLOCK_BYTES),
    }
}

/// An estimate from above of all blocks of a node.
fn blocks_of(tree: &Tree, node: &Node) -> u64 {
    let contents = contents_blocks(tree, node);
    // A group has room for one extent of more than 16,384 blocks.
    let extents = contents / 16_384 + 2;
    let extent_blocks = match extents > EXTENTS_IN_INODE as u64 {
        true => extents.div_ceil(EXTENTS_IN_BLOCK as u64),
        false => 0,
    };
    let xattrs = u64::from(xattr::needs_block(&tree.inode(node.ino).meta.xattrs));
    contents + extent_blocks + xattrs
}

/// The smallest division, in steps of 1 MiB, that has room for so many blocks.
fn grow_to(room: u64, inodes: u64) -> Option<Geometry> {
    const STEP: u64 = 256;
    let mut blocks = (room + room / 32 + 4096).next_multiple_of(STEP);
    // Each round adds what is missing, so few are needed; the last group may fall away again.
    for _ in 0..64 {
        match Geometry::new(blocks, inodes) {
            Some(geometry) if geometry.room() >= room => return Some(geometry),
            Some(geometry) => {
                blocks += (room - geometry.room()).next_multiple_of(STEP) + STEP;
            }
            None => blocks += inodes.next_multiple_of(STEP),
        }
    }
    None
}

/// The blocks after the last one taken.
struct Free {
    geometry: Geometry,
    group: u32,
    next: u32,
}

impl Free {
    fn take(&mut self, mut blocks: u64) -> Option<Vec<Extent>> {
        let mut taken = Vec::new();
        while blocks > 0 {
            let end = self.geometry.data(self.group).1;
            if self.next >= end {
                self.group += 1;
                if self.group >= self.geometry.groups {
                    return None;
                }
                self.next = self.geometry.data(self.group).0;
                continue;
            }
            let part = blocks.min(u64::from(end - self.next)) as u32;
            taken.push(Extent { start: self.next, blocks: part });
            self.next += part;
            blocks -= u64::from(part);
        }
        Some(taken)
    }
}
