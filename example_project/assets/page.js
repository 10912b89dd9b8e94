// The page works without this file: it paints the source, and runs a program without loading the page again.
"use strict";

const form = document.getElementById("program");
const source = document.getElementById("source");
const editor = document.getElementById("editor");
const paint = editor.querySelector(".paint");
const gutter = editor.querySelector(".gutter");
const button = document.getElementById("run");
const answer = document.getElementById("answer");

const C_WORDS = "alignas auto bool break case char class const constexpr continue default delete do double else enum " +
  "explicit extern false float for if inline int long namespace new noexcept nullptr operator private protected public " +
  "return short signed sizeof static struct switch template this throw true try typedef typename union unsigned using " +
  "virtual void volatile while";
const PYTHON_WORDS = "False None True and as assert async await break class continue def del elif else except finally for " +
  "from global if import in is lambda nonlocal not or pass raise return try while with yield";
const words = (list) => `(?<k>\\b(?:${list.replaceAll(" ", "|")})\\b)`;
const number = "(?<n>\\b(?:0x[\\da-fA-F]+|\\d[\\d_']*(?:\\.\\d*)?(?:[eE][+-]?\\d+)?)\\w*)";
const string = "(?<s>\"(?:\\\\.|[^\"\\\\\\n])*\"|'(?:\\\\.|[^'\\\\\\n])*')";
const cFamily = new RegExp(
  `(?<c>//.*|/\\*[\\s\\S]*?(?:\\*/|$))|(?<d>^[ \\t]*#.*)|${number}|${string}|${words(C_WORDS)}`, "gm");
const python = new RegExp(
  `(?<c>#.*)|(?<d>^[ \\t]*@.*)|(?<s>\\w?"""[\\s\\S]*?(?:"""|$)|[rbfu]?"(?:\\\\.|[^"\\\\\\n])*"|[rbfu]?'(?:\\\\.|[^'\\\\\\n])*')|` +
  `${number}|${words(PYTHON_WORDS)}`, "gm");

function painted(text, grammar) {
  const pieces = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(grammar)) {
    const token = document.createElement("span");
    token.className = Object.entries(match.groups).find(([, found]) => found !== undefined)[0];
    token.textContent = match[0];
    pieces.append(text.slice(end, match.index), token);
    end = match.index + match[0].length;
  }
  pieces.append(text.slice(end) + "\n");
  return pieces;
}

function repaint() {
  const language = new FormData(form).get("language");
  paint.replaceChildren(painted(source.value, language === "python" ? python : cFamily));
  const lines = source.value.split("\n").length;
  gutter.textContent = Array.from({ length: lines }, (_, line) => line + 1).join("\n");
}

async function run() {
  button.disabled = true;
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch(form.action, { method: "POST", body, headers: { "X-Part": "answer" } });
    if (response.headers.get("X-Part") !== "answer") throw new Error(`the site answered ${response.status} ${response.statusText}`);
    answer.innerHTML = await response.text();
    if (answer.getBoundingClientRect().top > innerHeight / 2) answer.scrollIntoView(); // on a narrow screen it is below
  } catch (error) {
    const section = document.createElement("section");
    section.className = "card failed";
    section.textContent = `Not run: ${error.message}`;
    answer.replaceChildren(section);
  } finally {
    button.disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
form.addEventListener("change", repaint);
source.addEventListener("input", repaint);
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
source.addEventListener("keydown", (event) => {
  if (event.key !== "Tab" || event.shiftKey || event.ctrlKey || event.altKey) return;
  event.preventDefault();
  document.execCommand("insertText", false, "    "); // unlike setRangeText, this can be undone
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".samples[open]")) if (!menu.contains(event.target)) menu.open = false;
});

editor.classList.add("painted");
repaint();
