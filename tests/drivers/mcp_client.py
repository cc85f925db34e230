"""The official client library of the Model Context Protocol, told what to call on standard input.

usage: mcp_client.py COMMAND [ARGUMENT]...

COMMAND is a server. The first line of output is its tools, a JSON object of input schemas by name. Each line of input is a
JSON object with `tool` and `arguments`; its answer is one line: `is_error`, `structured` and `text`. With `patience` it gives
up after so many seconds, and says `given_up`.
"""

import asyncio
import json
import sys

from mcp import Client, MCPError, StdioServerParameters


def say(value):
    print(json.dumps(value), flush=True)


async def main():
    server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:])
    async with Client(server) as client:
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
