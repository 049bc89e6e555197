use super::*;

fn said(standing: ImageStanding) -> Option<String> {
    sentence("alpine", "b0", standing, Instant::now()).map(|(text, _)| text)
}

#[tokio::test]
async fn an_image_on_its_way_is_told_in_steps_and_one_that_is_there_not_at_all() {
    assert_eq!(said(ImageStanding::Here), None);
    let coming = |sent| said(ImageStanding::Coming { sent, of: 64 << 20 }).expect("waits");
    assert_eq!(coming(0), "image alpine is brought to host b0: 0 % of 64 MiB");
    assert_eq!(coming((64 << 20) / 4), "image alpine is brought to host b0: 20 % of 64 MiB");
    assert_eq!(coming(65 << 20), "image alpine is brought to host b0: 100 % of 64 MiB");
    let waits = "image alpine waits to be brought to host b0";
    assert_eq!(said(ImageStanding::Missing).as_deref(), Some(waits));
    assert_eq!(said(ImageStanding::Coming { sent: 0, of: 0 }).as_deref(), Some(waits));
    let again = Instant::now() + Duration::from_secs(7);
    let failed = ImageStanding::Failed { error: "no room".to_owned(), again };
    let (text, look) = sentence("alpine", "b0", failed, Instant::now()).expect("waits");
    assert_eq!(text, "image alpine could not be brought to host b0: no room; it is tried again");
    assert_eq!(look, again);
}
