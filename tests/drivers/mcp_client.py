"""The official client library of the Model Context Protocol, told what to call on standard input.

usage: mcp_client.py COMMAND [ARGUMENT]...
       mcp_client.py URL TOKEN_FILE

COMMAND is a server; one at a URL is told the token with each request. The first line of output is its tools, a JSON object of input schemas by name. Each line of input is a
JSON object with `tool` and `arguments`; its answer is one line: `is_error`, `structured` and `text`. With `patience` it gives
up after so many seconds, and says `given_up`.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client


def say(value):
    print(json.dumps(value), flush=True)


def server(first, *further):
    if not first.startswith("http"):
        return StdioServerParameters(command=first, args=further)
    with open(further[0]) as file:
        headers = {"Authorization": f"Bearer {file.read().strip()}"}
    return streamable_http_client(first, http_client=httpx2.AsyncClient(headers=headers, timeout=120))


async def main():
    async with Client(server(*sys.argv[1:])) as client:
        listed = await client.list_tools()
        say({tool.name: tool.input_schema for tool in listed.tools})
        while line := await asyncio.to_thread(sys.stdin.readline):
            call = json.loads(line)
            patience = call.get("patience")
            try:
                result = await client.call_tool(call["tool"], call["arguments"], patience)
            except MCPError:
                if patience is None:
                    raise
                say({"given_up": True})
                continue
            text = "".join(part.text for part in result.content)
            say({"is_error": result.is_error, "structured": result.structured_content, "text": text})


asyncio.run(main())
