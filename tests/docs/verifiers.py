"""Runs the functions of docs/verify.md, each in its own language, on deliveries in a file `cases.json`.

What stands here is what each page leaves out: reading the cases and printing one `true` or `false` a line.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a subscriber gets, and with which secret it looks at it."""

    secret: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Runtime:
    """`files` makes the page's code and its frame into files; `command` runs them, in their folder."""

    executables: Sequence[str]
    files: Callable[[str], Mapping[str, str]]
    command: Sequence[str]

    @property
    def here(self) -> bool:
        return all(shutil.which(name) for name in self.executables)

    def run(self, code: str, deliveries: Sequence[Delivery], folder: Path) -> list[bool]:
        for name, text in self.files(code).items():
            (folder / name).write_text(text, "utf-8")
        cases = [
            {"secret": item.secret, "headers": dict(item.headers), "body": base64.b64encode(item.body).decode()}
            for item in deliveries
        ]
        (folder / "cases.json").write_text(json.dumps(cases), "utf-8")
        done = subprocess.run(
            self.command, cwd=folder, capture_output=True, text=True, check=False, env=_environment(folder)
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said = [line.strip().lower() for line in done.stdout.splitlines()]
        return [line == "true" for line in said if line in ("true", "false")]


def _environment(folder: Path) -> dict[str, str]:
    """Offline and quiet; caches go where the machine has them, or into the folder."""
    quiet = {"GOFLAGS": "-mod=mod", "GO111MODULE": "off", "GOTOOLCHAIN": "local", "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
             "DOTNET_NOLOGO": "1"}  # fmt: skip
    return {"HOME": str(folder), **os.environ, **quiet}


_PYTHON = """
import json

for case in json.load(open("cases.json")):
    body = base64.b64decode(case["body"])
    print(str(is_genuine(case["secret"], case["headers"], body)).lower())
"""
_NODE = """
import { readFileSync } from "node:fs";
import { isGenuine } from "./verify.mjs";
for (const { secret, headers, body } of JSON.parse(readFileSync("cases.json", "utf8"))) {
  console.log(isGenuine(secret, headers, Buffer.from(body, "base64")));
}
"""
_PHP = """
foreach (json_decode(file_get_contents('cases.json'), true) as $case) {
    echo is_genuine($case['secret'], $case['headers'], base64_decode($case['body'])) ? 'true' : 'false', "\\n";
}
"""
_GO = """
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func main() {
	var cases []struct {
		Secret  string
		Headers map[string]string
		Body    []byte
	}
	content, err := os.ReadFile("cases.json")
	if err == nil {
		err = json.Unmarshal(content, &cases)
	}
	if err != nil {
		panic(err)
	}
	for _, each := range cases {
		headers := http.Header{}
		for name, value := range each.Headers {
			headers.Set(name, value)
		}
		fmt.Println(IsGenuine(each.Secret, headers, each.Body))
	}
}
"""
_CSHARP = """
public static class Cases
{
    public static void Main()
    {
        var cases = System.Text.Json.JsonDocument.Parse(System.IO.File.ReadAllText("cases.json"));
        foreach (var item in cases.RootElement.EnumerateArray())
        {
            var headers = new System.Collections.Generic.Dictionary<string, string>();
            foreach (var header in item.GetProperty("headers").EnumerateObject())
            {
                headers[header.Name] = header.Value.GetString();
            }
            System.Console.WriteLine(Webhook.IsGenuine(
                item.GetProperty("secret").GetString(), headers, item.GetProperty("body").GetBytesFromBase64()));
        }
    }
}
"""
_PROJECT = """
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net$(BundledNETCoreAppTargetFrameworkVersion)</TargetFramework>
    <ImplicitUsings>disable</ImplicitUsings>
  </PropertyGroup>
</Project>
"""

RUNTIMES: Mapping[str, Runtime] = {
    "python": Runtime([sys.executable], lambda code: {"verify.py": code + _PYTHON}, [sys.executable, "verify.py"]),
    "javascript": Runtime(["node"], lambda code: {"verify.mjs": code, "main.mjs": _NODE}, ["node", "main.mjs"]),
    "php": Runtime(["php"], lambda code: {"verify.php": code + _PHP}, ["php", "verify.php"]),
    "go": Runtime(
        ["go"],
        lambda code: {"verify.go": code.replace("package webhook", "package main"), "main.go": _GO},
        ["go", "run", "verify.go", "main.go"],
    ),
    "csharp": Runtime(
        ["dotnet"],
        lambda code: {"Verify.cs": code, "Cases.cs": _CSHARP, "cases.csproj": _PROJECT},
        ["dotnet", "run", "--verbosity", "quiet"],
    ),
}
