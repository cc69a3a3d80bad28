"""The style of a profile's page, for light and dark."""

STYLE = """
:root { --page: #fff; --text: #1c2024; --note: #5b6470; --line: #e0e3e7; --soft: #f3f5f7; --blue: #3b6fb6;
  --amber: #b7791f; --red: #b42318; --green: #14713b; --grey: #c3c9d0 }
@media (prefers-color-scheme: dark) { :root { --page: #15181b; --text: #e4e7ea; --note: #9ba4ae; --line: #2c3238;
  --soft: #1e2226; --blue: #6ba0e6; --amber: #e0a94a; --red: #f0857a; --green: #5cc487; --grey: #444c55 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--page); color: var(--text) }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; font-size: 1.25rem }
h3 { margin: 0; font-size: 1.05rem; overflow-wrap: anywhere }
h3 small { font-weight: 400; color: var(--note); margin-left: .6rem }
a { color: inherit; text-decoration-color: var(--grey); text-underline-offset: .2em }
.note { color: var(--note) } .small { font-size: .8rem; margin: .2rem 0 } p { margin: .4rem 0 }
table { border-collapse: collapse; font-size: .9rem }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: middle }
th { font-weight: 500; color: var(--note) }
.wide { overflow-x: auto } .overview { width: 100% }
.overview a { display: inline-block; min-width: 9rem; overflow-wrap: anywhere }
.overview thead th { position: sticky; top: 0; background: var(--page) }
.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap }
.findings { list-style: none; padding: 0; margin: 1.2rem 0 }
.findings li { padding: .35rem .8rem; margin: .3rem 0; border-left: 4px solid var(--grey); background: var(--soft) }
.findings .bad { border-color: var(--red) } .findings .look { border-color: var(--amber) }
.findings .good { border-color: var(--green) }
.findings a { font-size: .9rem }
.tag { display: inline-block; font-size: .78rem; padding: 0 .5rem; margin: .1rem .25rem .1rem 0; border-radius: 1rem;
  border: 1px solid var(--grey); color: var(--note); white-space: nowrap }
.tag.bad { border-color: var(--red); color: var(--red) } .tag.look { border-color: var(--amber); color: var(--amber) }
.worth { min-width: 7.5rem; font-size: .8rem; color: var(--note); font-variant-numeric: tabular-nums }
.track { background: var(--soft); margin-bottom: .1rem } .bar { background: var(--blue); height: .45rem }
.feature { border-top: 1px solid var(--line); padding: 1.2rem 0; scroll-margin-top: 1rem }
.feature:target h3 { color: var(--blue) }
.columns { display: flex; flex-wrap: wrap; gap: 1rem 2rem } .columns > div { flex: 1 1 20rem; min-width: 0 }
.quantiles { font-size: .75rem; margin: .4rem 0; font-variant-numeric: tabular-nums }
.quantiles th, .quantiles td { padding: .1rem .45rem .1rem 0; white-space: nowrap }
.columns > div { overflow-x: auto }
.texts { width: 100%; max-width: 26rem } .track-cell { width: 45% }
svg { display: block; max-width: 100%; height: auto } svg text { font: 10.5px system-ui, sans-serif; fill: var(--note) }
.b { fill: var(--blue) } .tail { fill: var(--blue); opacity: .45 } .hover { fill: transparent }
.axis { stroke: var(--grey) } .limit { stroke: var(--note); stroke-dasharray: 3 2 } .whisker { stroke: var(--blue) }
.median { fill: none; stroke: var(--blue); stroke-width: 1.8 }
.p90 { fill: none; stroke: var(--blue); stroke-dasharray: 4 3; opacity: .75 }
.dot { fill: var(--blue) } .null { fill: var(--note); opacity: .7 }
.reference { fill: var(--grey) } .too_small { fill: none; stroke: var(--grey) }
.same { fill: var(--green); opacity: .55 }
.moved { fill: var(--amber) } .far { fill: var(--red) }
.plus { fill: var(--blue) } .minus { fill: var(--red) } .self { fill: var(--grey) }
@media print { .feature { break-inside: avoid } }
"""
