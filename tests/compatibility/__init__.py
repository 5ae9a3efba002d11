"""What each field of a request and of an answer becomes, by backend; `docs/compatibility.md`."""
