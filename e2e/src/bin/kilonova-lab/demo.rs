//! `make demo`.

pub(crate) async fn run(_keep: bool) -> kilonova_e2e::Result<()> {
    Ok(())
}
