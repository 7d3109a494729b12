"""The operations on messages: send, receive, peek, delete, change visibility."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from xml.etree import ElementTree as ET

from localcloud.mns.desk import Desk
from localcloud.mns.errors import MnsError
from localcloud.mns.message import PRIORITIES, Message
from localcloud.mns.queue import Queue
from localcloud.mns.route import Route
from localcloud.mns.store import Ask
from localcloud.mns.wire import bounded, local_name, message_xml, parse, properties, sent_xml, texts
from localcloud.service import Call, Reply

BATCH_MAX = 16
BATCH_BYTES_MAX = 65_536


async def send(desk: Desk, asked: Route, call: Call) -> Reply:
    """201 with the id; a delayed message also shows its handle, which can cancel it."""
    queue = desk.store.find(asked.queue)
    message = _send(desk, queue, parse(call.body, "Message"))
    return Reply(201, desk.style.document("Message", sent_xml(message, desk.style, 1)))


async def batch_send(desk: Desk, asked: Route, call: Call) -> Reply:
    """201 if all were taken; else 500 with an entry for each message in the request's order."""
    queue = desk.store.find(asked.queue)
    entries = _children(parse(call.body, "Messages"), "Message")
    if (
        sum(len(texts(entry).get("MessageBody", "").encode()) for entry in entries)
        > BATCH_BYTES_MAX
    ):
        raise _size_error(1, BATCH_BYTES_MAX)
    # Assumption: the documentation does not name the status of a batch that was taken in part.
    status, parts = 201, []
    for entry in entries:
        try:
            content = sent_xml(_send(desk, queue, entry), desk.style, 2, shows_handle=False)
        except MnsError as error:
            status = 500
            content = desk.style.fields(
                [("ErrorCode", error.code), ("ErrorMessage", error.message)], 2
            )
        parts.append(desk.style.group("Message", content))
    return Reply(status, desk.style.document("Messages", "".join(parts)))


async def receive(desk: Desk, asked: Route, call: Call) -> Reply:
    """200 with a message; 404 MessageNotExist if there is none within the wait."""
    [message] = await _receive(desk, asked, call, 1)
    content = message_xml(message, desk.style, 1, is_leased=True)
    return Reply(200, desk.style.document("Message", content))


async def batch_receive(desk: Desk, asked: Route, call: Call) -> Reply:
    """200 with up to numOfMessages messages, perhaps fewer than there are; 404 if none."""
    taken = await _receive(desk, asked, call, _batch_size(asked))
    return Reply(200, _batch(desk, taken, is_leased=True))


async def peek(desk: Desk, asked: Route, _call: Call) -> Reply:
    """200 with a visible message, which stays visible."""
    [message] = _peek(desk, asked, 1)
    content = message_xml(message, desk.style, 1, is_leased=False)
    return Reply(200, desk.style.document("Message", content))


async def batch_peek(desk: Desk, asked: Route, _call: Call) -> Reply:
    """200 with up to numOfMessages visible messages, which stay visible."""
    return Reply(200, _batch(desk, _peek(desk, asked, _batch_size(asked)), is_leased=False))


async def delete(desk: Desk, asked: Route, _call: Call) -> Reply:
    """204; 404 MessageNotExist if the handle has died, 400 if it never was one."""
    queue = desk.store.find(asked.queue)
    queue.delete(asked.get("receipthandle") or "", desk.store.now_ms())
    return Reply(204)


async def batch_delete(desk: Desk, asked: Route, call: Call) -> Reply:
    """204 if all went; else 404 that names the handles which failed, the others being deleted."""
    queue = desk.store.find(asked.queue)
    if not call.body:
        raise MnsError("MissingReceiptHandle")
    failed = []
    for entry in _children(parse(call.body, "ReceiptHandles"), "ReceiptHandle"):
        handle = (entry.text or "").strip()
        try:
            queue.delete(handle, desk.store.now_ms())
        except MnsError as error:
            pairs = [
                ("ErrorCode", error.code),
                ("ErrorMessage", error.message),
                ("ReceiptHandle", handle),
            ]
            failed.append(desk.style.group("Error", desk.style.fields(pairs, 2)))
    if failed:
        return Reply(404, desk.style.document("Errors", "".join(failed)))
    return Reply(204)


async def change_visibility(desk: Desk, asked: Route, _call: Call) -> Reply:
    """200 with a new handle; the old one is dead. The timeout counts from now."""
    queue = desk.store.find(asked.queue)
    handle, seconds = asked.get("receipthandle"), asked.get("visibilitytimeout")
    if not handle:
        raise MnsError("MissingReceiptHandle")
    if not seconds:
        raise MnsError("MissingVisibilityTimeout")
    # Assumption: 0 is refused like any number out of range; the documented range is 1..43200.
    timeout = bounded("VisibilityTimeout", seconds, 1, 43_200)
    message = queue.change_visibility(handle, timeout, desk.store.now_ms())
    desk.store.nudge(queue)
    pairs = [("ReceiptHandle", message.handle), ("NextVisibleTime", message.next_visible_ms)]
    return Reply(200, desk.style.document("ChangeVisibility", desk.style.fields(pairs)))


def check_size(body: str, queue: Queue, low: int = 1) -> None:
    """Refuse a body that is empty or longer than the queue takes, counted as it is on the wire."""
    high = queue.attributes.maximum_message_size
    if not low <= len(body.encode()) <= high:
        raise _size_error(low, high)


def _size_error(low: int, high: int) -> MnsError:
    return MnsError(
        "InvalidArgument", f"The value of MessageBody should between {low} and {high} bytes."
    )


def _send(desk: Desk, queue: Queue, element: ET.Element) -> Message:
    given = texts(element)
    check_size(given.get("MessageBody", ""), queue)
    message = desk.store.new_message(given["MessageBody"])
    if "Priority" in given:
        message.priority = bounded("Priority", given["Priority"], 1, PRIORITIES, "")
    delay = None
    if "DelaySeconds" in given:
        delay = bounded("DelaySeconds", given["DelaySeconds"], 0, 604_800)
    message.group_id = given.get("MessageGroupId", "")
    message.user_properties = properties(element, "UserProperties")
    message.system_properties = properties(element, "SystemProperties")
    return desk.store.send(queue, message, delay)


async def _receive(desk: Desk, asked: Route, call: Call, limit: int) -> list[Message]:
    queue = desk.store.find(asked.queue)
    if asked.get("misspelt"):
        raise MnsError("InternalError")
    wait = asked.get("waitseconds")
    # Assumption: numbers out of range are InvalidArgument; the real code was not seen.
    seconds = (
        queue.attributes.polling_wait_seconds
        if wait is None
        else bounded("waitseconds", wait, 0, 30)
    )
    strikes = partial(desk.strikes, asked.operation)
    taken = await desk.store.receive(queue, Ask(limit, seconds, call.is_connected, strikes))
    if not taken:
        raise MnsError("MessageNotExist")
    return taken


def _peek(desk: Desk, asked: Route, limit: int) -> list[Message]:
    seen = desk.store.find(asked.queue).peek(limit, desk.store.now_ms())
    if not seen:
        raise MnsError("MessageNotExist")
    return seen


def _batch_size(asked: Route) -> int:
    return bounded("numOfMessages", asked.get("numofmessages") or "", 1, BATCH_MAX, "messages")


def _batch(desk: Desk, taken: list[Message], *, is_leased: bool) -> str:
    style = desk.style
    return style.document(
        "Messages",
        "".join(
            style.group("Message", message_xml(message, style, 2, is_leased=is_leased))
            for message in taken
        ),
    )


def _children(root: ET.Element, name: str) -> list[ET.Element]:
    """Return the entries of a batch, 1 to 16 of them."""
    entries = list(root)
    if not entries or any(local_name(entry) != name for entry in entries):
        raise MnsError("MalformedXML")
    bounded(f"{name} count", str(len(entries)), 1, BATCH_MAX, "entries")
    return entries


HANDLERS: dict[str, Callable[[Desk, Route, Call], Awaitable[Reply]]] = {
    "SendMessage": send,
    "BatchSendMessage": batch_send,
    "ReceiveMessage": receive,
    "BatchReceiveMessage": batch_receive,
    "PeekMessage": peek,
    "BatchPeekMessage": batch_peek,
    "DeleteMessage": delete,
    "BatchDeleteMessage": batch_delete,
    "ChangeMessageVisibility": change_visibility,
}
