use super::*;

fn id() -> JailId {
    JailId::new("0191e0a0-0000-7000-8000-000000000001").expect("it is one")
}

/// What comes of a VMM that answers so.
async fn answered(with: &[u8]) -> Result<Vec<u8>, HostError> {
    let (ours, mut vmm) = UnixStream::pair().expect("the kernel has some");
    let with = with.to_vec();
    let vmm = tokio::spawn(async move {
        let mut asked = [0; 13];
        vmm.read_exact(&mut asked).await.expect("it is asked");
        assert_eq!(&asked, b"CONNECT 1023\n");
        vmm.write_all(&with).await.expect("it is read");
    });
    let mut stream = through_vsock(ours, &id()).await?;
    vmm.await.expect("it does not panic");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("it ends");
    Ok(rest)
}

#[tokio::test]
async fn a_guest_that_took_the_connection_is_heard_from_its_first_byte() {
    assert_eq!(answered(b"OK 1073741824\n~hello").await.expect("it is taken"), b"~hello");
}

#[tokio::test]
async fn a_guest_where_nobody_listens_is_not_found_and_nonsense_is_an_error() {
    let kind = |answer: Result<Vec<u8>, HostError>| answer.expect_err("it failed").kind;
    assert_eq!(kind(answered(b"").await), HostErrorKind::NotFound);
    assert_eq!(kind(answered(b"OK").await), HostErrorKind::NotFound);
    assert_eq!(kind(answered(b"NO\n").await), HostErrorKind::Other);
    assert_eq!(kind(answered(&[b'x'; 100]).await), HostErrorKind::Other);
}
