from gateway.wire.anthropic_marks import without_marks

MARK = {"cache_control": {"type": "ephemeral"}}


def test_marks_are_taken_from_everywhere_and_named_once() -> None:
    said = {"type": "text", "text": "Hi"}
    chat = {
        "model": "auto",
        "thinking": {"type": "adaptive"},
        "messages": [
            {"role": "user", "content": [{**said, **MARK}, {**said, **MARK, "x": 1}]},
            {"role": "assistant", "content": [{**said, "citations": [1]}], "thinking_blocks": [1]},
            {"role": "tool", "tool_call_id": "t", "content": "No.", "is_error": True},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}, **MARK}],
    }
    plain, found = without_marks(chat)
    assert plain == {
        "model": "auto",
        "messages": [
            {"role": "user", "content": [said, {**said, "x": 1}]},
            {"role": "assistant", "content": [said]},
            {"role": "tool", "tool_call_id": "t", "content": "No."},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    assert sorted(found) == [
        "messages[].content[].cache_control",
        "messages[].content[].citations",
        "messages[].is_error",
        "messages[].thinking_blocks",
        "thinking",
        "tools[].cache_control",
    ]


def test_a_chat_without_marks_stays() -> None:
    chat = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
    assert without_marks(chat) == (chat, ())
