//! A migration is never changed once it is in a release, or in the main branch: a database keeps
//! the checksum of each file that made it, and is refused when the file has another. Not one
//! comment in it may change.
//!
//! A new migration is a new file with the next number, and a line at the end of [`WRITTEN`]; the
//! test that fails without it prints that line.

use std::fmt::Write as _;

/// Number and checksum (SHA-384 of the file) of every migration.
#[rustfmt::skip]
const WRITTEN: &[(i64, &str)] = &[
    (1, "bbce13b31517e21cc6a7287c27cbf89e5700dd3247176eca32a78a2f5825092e7851f4c86c2402e87d49121f73418626"),
    (2, "50e9dc84f06c5bc230fe5d595adedeeb7754beb4bf933fba74f80e8b60a6304668006059408f822a840b2a4cec12a56f"),
    (3, "e88071aaa733934dd3e04f42313bc932fa0040bbcea5b36c4b535aafa22911dba68bc6b48c75cd863e265c4d45c57922"),
    (4, "b34dc41cd638a5327a389aeba1dbe6545373a2c87adcf9570ec994682066663f53df6cd9ab8b9f41dc6a6ebe7569bea3"),
    (5, "205f0032c78b850f95574acf58882e0310b974191aed523f180203adff3b51f47a549ff59c1313ba744c07a085a07da5"),
    (6, "b598a7fba719f100dbe05891004eab109509ae00a6c4eb8729d1a4430f10c6c5f1d4e374f090f48ab55438b478853391"),
    (7, "5c744d34068d993d8254082b8c8deec2683d1d90d74191c53a4e2502774d82f680d40600bfe7f0a471650c2640df797f"),
    (8, "cc5c61df26c28413cb5cd0b60cb4de4dfadaf6ed2d7667cc5a4301d4d511645ebaf4e4d73fd6a7727d216ff05ede8583"),
    (9, "f4cb1d277b92326f269f3b46f9298b680a9b67fea5a686ba4b632c87459b9407ba0dc9b2f32bcef77f24e1dd37113578"),
    (10, "e11299b89135440fcec679b7f0ac3f7fee62b352a3c6878a23de693098f2fdfdf165c0eb1f06c99d4af96e590feed336"),
    (11, "a72c18de91ba496e03e788ba47cc6b541d3b153f9263c68355e91cd0be4755fdfe443706563d0ad0ca3fa9e36797f189"),
    (12, "ed0ee974241e008a688b4aa50a975877541c8230fdc5793860cb72893043c409dd8d1bc4681b94f5d7d0be7d796e3cd2"),
    (13, "2b093d9f69ec2293768b0e247cc4b8cb5be84462a4ced25dd2fc917f6d8b2c0986f5ddc70cdd5a91e2831a27e6bef66c"),
    (14, "74533de30e0a270b3f0ffb9dd069a1a5b0aa9da9b06d063a2b02268367c2b5a4c5a8fcc5b592990219393bb7b8ba067c"),
    (15, "58cef74784d38f9a067a4644e2668309f16d1ba2bbd2dbe507b4a223e76725544f18c15c9ce1120e5839790362b8bdb5"),
    (16, "50a99820ef33189d40769a4fedb730a2db8f50c65407f989801e0d3842f103a5c1c4a43d71fe4101e6ef4a703bed9fff"),
    (17, "ac77ae22ed1f2266050ea1a9ca7cfeff9a68efff82e310d1e76c7065ea63ce9798c876c7ede573755aebe186f5c62236"),
    (18, "d60e710690034531b8fe0feb256891ea5f8d78cbe014b46ee85c32e876f05b6ab8e89739a56d3e546ed70d8eb43d0ccf"),
    (19, "36c0783900a3e92b8296af6cb8a4ed97874555aa669b5fe088bad8deec69d181ce7fc8dbeccbd1be727005216d4b9e1a"),
    (20, "31e81e56cca10b5ab24de2563c3b187d7a6393cd2484afa07675116b767ac2c4c3cd8b6ed108fc2d29149b4cb458fbf2"),
    (21, "c8ce9f869d7a8965ec09c24644d84f880d63386918ce2f627afaa0446ec2d9a33613a899339d8b8bde3a5ded58da881a"),
    (22, "e31be6b36b4acff0951ade9bd88cfbdfa5d68438d879bfc8d28fd85317854f0a4f1bab461c9e8d43830a9a8716905d8d"),
    (24, "3f637282be5d12f1c4d1831040d0492f5c042d654998cde0c7cfc3ff01a2655d6ce15ef7f541e3473c9d670b16dc576e"),
    (31, "467e656de1c1ecb0dc2f7e4d1f4eb4fd6ab74adb3723fc1b72b8e69198443c51ce4ea3a63c22509d68e7c7c970bb773b"),
];

#[test]
fn migrations_are_as_they_were_written() {
    let mut changed = String::new();
    let mut new = String::new();
    let migrator = sqlx::migrate!();
    for migration in migrator.iter() {
        let checksum: String = migration.checksum.iter().map(|b| format!("{b:02x}")).collect();
        let version = migration.version;
        match WRITTEN.iter().find(|(known, _)| *known == version) {
            Some((_, known)) if *known == checksum => {}
            Some(_) => write!(changed, " {version:04}").expect("text"),
            None => writeln!(new, "    ({version}, \"{checksum}\"),").expect("text"),
        }
    }
    assert_eq!(
        changed, "",
        "migrations that were edited: no database made by them opens. Undo that, and write a new one"
    );
    assert_eq!(new, "", "new migrations: add these lines at the end of WRITTEN");
    let present: Vec<i64> = migrator.iter().map(|migration| migration.version).collect();
    let written: Vec<i64> = WRITTEN.iter().map(|(version, _)| *version).collect();
    assert_eq!(present, written, "a migration was removed, or the lines are out of order");
}
