/** How the matrix page looks, in light and in dark. */
export const style = `
:root {
  --ground: #fbfbf9; --panel: #f1f1ec; --ink: #1c1f1e; --faint: #63696a; --line: #dcdcd5; --focus: #1a5fd0;
  --allowed: #2f8f6b; --allowed-ground: #dcefe5; --denied: #b3382c; --denied-ground: #f7e1dd;
  --partly: #8a6100; --partly-ground: #f6e8c3; --hover: rgb(26 95 208 / 9%);
  --cell: 22px; --names: 210px; --heads: 132px;
  color-scheme: light;
}
:root[data-theme="dark"] {
  --ground: #16191b; --panel: #1e2224; --ink: #e6e8e6; --faint: #99a1a2; --line: #31373a; --focus: #7cb0ff;
  --allowed: #63d0a4; --allowed-ground: #1d3a30; --denied: #ff8c7d; --denied-ground: #47211d;
  --partly: #f0c15a; --partly-ground: #40351a; --hover: rgb(124 176 255 / 12%);
  color-scheme: dark;
}
@media (prefers-color-scheme: dark) {
  :root:not([data-theme="light"]) {
    --ground: #16191b; --panel: #1e2224; --ink: #e6e8e6; --faint: #99a1a2; --line: #31373a; --focus: #7cb0ff;
    --allowed: #63d0a4; --allowed-ground: #1d3a30; --denied: #ff8c7d; --denied-ground: #47211d;
    --partly: #f0c15a; --partly-ground: #40351a; --hover: rgb(124 176 255 / 12%);
    color-scheme: dark;
  }
}
* { box-sizing: border-box; margin: 0; }
html, body { height: 100%; }
body { display: flex; flex-direction: column; background: var(--ground); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 20px; padding: 10px 16px; border-bottom: 1px solid var(--line); }
h1 { font-size: 16px; font-weight: 500; }
h1 b { font-variant-numeric: tabular-nums; }
form { display: flex; flex-wrap: wrap; gap: 8px 14px; }
label { color: var(--faint); }
input, select, button { font: inherit; color: var(--ink); background: var(--panel); border: 1px solid var(--line); border-radius: 5px; padding: 3px 8px; }
input { width: 190px; }
button { margin-left: auto; width: 34px; cursor: pointer; order: 1; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 1px; }
#count { color: var(--faint); order: 2; flex-basis: 100%; }
main { flex: 1; min-height: 0; display: flex; }
#grid { flex: 1; min-width: 0; overflow: auto; position: relative; border: 2px solid transparent; }
#grid:focus-visible { outline: none; border-color: var(--focus); }
#space { position: relative; }
.row { position: absolute; left: 0; height: var(--cell); width: 100%; }
.row.head { position: sticky; top: 0; height: var(--heads); z-index: 2; background: var(--ground); border-bottom: 1px solid var(--line); }
.name { position: sticky; left: 0; width: var(--names); height: var(--cell); padding: 0 8px; z-index: 1; background: var(--ground); border-right: 1px solid var(--line); line-height: var(--cell); font-size: 12.5px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.corner { position: sticky; left: 0; z-index: 3; width: var(--names); height: calc(var(--heads) - 1px); background: var(--ground); border-right: 1px solid var(--line); padding: 8px; color: var(--faint); font-size: 12px; display: flex; align-items: flex-end; justify-content: space-between; }
.column { position: absolute; bottom: 0; width: var(--cell); height: 100%; font-size: 12.5px; }
.column > span { position: absolute; bottom: 6px; left: 50%; transform-origin: 0 50%; transform: rotate(-60deg) translateY(-50%); white-space: nowrap; max-width: 145px; overflow: hidden; text-overflow: ellipsis; line-height: 1; padding: 2px 0; }
.cell { position: absolute; width: calc(var(--cell) - 2px); height: calc(var(--cell) - 2px); top: 1px; border-radius: 4px; text-align: center; line-height: calc(var(--cell) - 2px); font-size: 11px; font-weight: 600; cursor: pointer; }
.allowed { background: var(--allowed-ground); color: var(--allowed); }
.denied { background: var(--denied-ground); color: var(--denied); }
.partly { background: var(--partly-ground); color: var(--partly); }
.allowed::after { content: "●"; font-size: 8px; }
.denied::after { content: "✕"; }
.partly::after { content: attr(data-sign); }
.absent { cursor: default; }
.absent::after { content: "·"; color: var(--faint); }
.name.at, .column.at > span { color: var(--focus); font-weight: 600; }
.cell.active { outline: 2px solid var(--focus); outline-offset: 0; }
.namespace { color: var(--faint); }
aside { width: 330px; flex: none; overflow: auto; padding: 16px; background: var(--panel); border-left: 1px solid var(--line); display: flex; flex-direction: column; gap: 18px; }
#detail { min-height: 240px; overflow-wrap: anywhere; }
#detail h2 { font-size: 15px; font-weight: 600; line-height: 1.3; margin-bottom: 2px; }
#detail .labels { color: var(--faint); font-size: 12.5px; margin-bottom: 8px; }
#detail h3 { font-size: 13px; margin-top: 12px; display: flex; gap: 8px; align-items: center; }
#detail h3 .cell, .legend .cell { position: static; display: inline-block; flex: none; cursor: default; }
#detail p { font-size: 13px; margin-top: 4px; }
#detail p b { font-weight: 600; }
#detail .no { color: var(--denied); }
#detail .yes { color: var(--allowed); }
#map { width: 180px; height: 180px; border: 1px solid var(--line); border-radius: 5px; cursor: crosshair; flex: none; }
.legend { display: grid; gap: 6px; font-size: 13px; }
.legend div { display: flex; gap: 10px; align-items: center; }
#keys { color: var(--faint); font-size: 12.5px; line-height: 1.9; }
kbd { font: inherit; font-size: 11.5px; border: 1px solid var(--line); border-radius: 4px; padding: 0 5px; background: var(--ground); }
@media (max-width: 760px) { main { flex-direction: column; } aside { width: auto; max-height: 45%; border-left: 0; border-top: 1px solid var(--line); } #map { display: none; } :root { --names: 130px; } }
@media (forced-colors: active) { .cell.active { outline: 3px solid Highlight; } }
@media print { aside { display: none; } }
`;
