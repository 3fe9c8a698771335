"""The look of a report: one column on a phone, two or three beside each other where there is room; light and dark."""

STYLE = """
:root {
  --ink: #22303a; --soft: #5d6b75; --faint: #e4e9ec; --paper: #ffffff; --ground: #f6f8f9; --fill: #d7e5ec;
  --c0: #1b5e7d; --c1: #d1603d; --c2: #7a9e3a; --c3: #8a6bb1; --c4: #c9a227; --c5: #777777;
  --good: #2f7d4f; --good-ground: #e9f4ee; --bad: #a8401f; --bad-ground: #fbeee9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #dfe6ea; --soft: #97a5ae; --faint: #2c3740; --paper: #1a2229; --ground: #12181d; --fill: #24414f;
    --c0: #6cb4d6; --c1: #e88a68; --c2: #a6c965; --c3: #b79bdb; --c4: #e0c25a; --c5: #a0a0a0;
    --good: #7fc79d; --good-ground: #1b2f25; --bad: #ee9d80; --bad-ground: #37221b;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 27px; line-height: 1.2; font-weight: 650; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; font-weight: 650; margin: 40px 0 4px; }
p { margin: 0 0 10px; max-width: 75ch; }
.lead { color: var(--soft); margin: 4px 0 18px; }
.note { color: var(--soft); font-size: 13.5px; }
.verdict { border-radius: 10px; padding: 12px 16px; margin: 0 0 18px; background: var(--good-ground); color: var(--good); }
.verdict.bad { background: var(--bad-ground); color: var(--bad); }
.verdict strong { font-weight: 650; }
.verdict ul { margin: 6px 0 0; padding-left: 20px; color: var(--ink); }
.verdict li { margin: 2px 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 12px; }
.tile, .card { background: var(--paper); border: 1px solid var(--faint); border-radius: 10px; }
.tile { padding: 11px 14px 10px; }
.tile b { display: block; font-size: 21px; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.card { padding: 12px 14px 10px; min-width: 0; }
.card h3 { font-size: 14px; font-weight: 600; margin: 0 0 4px; overflow-wrap: anywhere; }
.card .note { margin: 2px 0 4px; font-size: 12.5px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 316px), 1fr)); gap: 14px; margin-top: 12px; }
.wide + .note { margin-top: 10px; }
.wide { overflow-x: auto; background: var(--paper); border: 1px solid var(--faint); border-radius: 10px; margin-top: 12px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 500; color: var(--soft); padding: 9px 12px 7px; border-bottom: 1px solid var(--faint);
  white-space: nowrap; }
td { text-align: right; padding: 6px 12px; border-bottom: 1px solid var(--faint); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child, td.words, th.words { text-align: left; }
td.words { white-space: normal; min-width: 190px; }
td:first-child { position: sticky; left: 0; background: var(--paper); max-width: 46vw; overflow: hidden;
  text-overflow: ellipsis; }
.off { color: var(--bad); font-weight: 600; }
.ok { color: var(--good); }
dl { display: grid; grid-template-columns: minmax(90px, max-content) 1fr; gap: 5px 18px; margin: 12px 0 0; font-size: 13.5px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.keys { margin: 6px 0 0; font-size: 13px; color: var(--soft); }
.key { margin-right: 14px; white-space: nowrap; } .key i { display: inline-block; width: 14px; height: 3px; border-radius: 2px;
  margin-right: 5px; vertical-align: middle; background: currentColor; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
.pairs { max-width: 600px; }
svg path { fill: none; } svg text { fill: var(--soft); font: 9.5px system-ui, sans-serif; }
svg .l { font-size: 10px; } svg .n { fill: var(--ink); font-size: 10px; } svg .r { fill: var(--soft); font-size: 13px; }
svg .g { stroke: var(--faint); } svg .a { stroke: var(--soft); stroke-opacity: .5; }
svg .d { stroke: var(--soft); stroke-dasharray: 3 3; stroke-opacity: .8; }
svg .box { fill: none; stroke: var(--faint); }
svg .fill { fill: var(--fill); }
svg .s { stroke-width: 1; stroke-opacity: .8; stroke-linejoin: round; } svg .s2 { stroke-width: 1.7; stroke-linejoin: round; }
svg .dash { stroke-dasharray: 4 3; }
svg .p { stroke-linecap: round; stroke-opacity: .45; }
.c0 { stroke: var(--c0); color: var(--c0); } .c1 { stroke: var(--c1); color: var(--c1); }
.c2 { stroke: var(--c2); color: var(--c2); } .c3 { stroke: var(--c3); color: var(--c3); }
.c4 { stroke: var(--c4); color: var(--c4); } .c5 { stroke: var(--c5); color: var(--c5); }
svg .b { stroke: none; fill: currentColor; fill-opacity: .75; }
footer { margin-top: 40px; color: var(--soft); font-size: 12.5px; }
@media (max-width: 480px) {
  main { padding: 20px 14px 36px; } h1 { font-size: 23px; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 10px; } .tile b { font-size: 19px; }
  th, td { padding-left: 8px; padding-right: 8px; }
  dl { grid-template-columns: 1fr; gap: 1px; } dd { margin-bottom: 9px; }
}
@media print { body { background: #fff; } .card, .tile, .wide, .verdict { break-inside: avoid; } }
"""
