"""The HTML of a page, as a template with autoescape."""

from __future__ import annotations

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
img-src data: blob:; script-src {{ hashes|safe }}">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
{% macro mark(key) %}
<svg class="mark" width="22" height="12" viewBox="0 0 22 12" aria-hidden="true" \
style="color: var(--{{ key.colour }})">
{% if key.mark == "line" %}<path d="M1 6H21" stroke="currentColor" stroke-width="2.5"/>
{% elif key.mark == "dashed" %}\
<path d="M1 6H21" stroke="currentColor" stroke-width="2.5" stroke-dasharray="6 3"/>
{% elif key.mark == "dotted" %}\
<path d="M1 6H21" stroke="currentColor" stroke-width="2.5" stroke-dasharray="2.5 2.5"/>
{% elif key.mark == "dot" %}<circle cx="11" cy="6" r="4" fill="currentColor"/>
{% elif key.mark == "ring" %}\
<circle cx="11" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="2"/>
{% elif key.mark == "square" %}\
<rect x="7" y="2" width="8" height="8" fill="none" stroke="currentColor" stroke-width="2"/>
{% elif key.mark == "diamond" %}<path d="M11 0L17 6L11 12L5 6Z" fill="currentColor"/>
{% elif key.mark == "cross" %}\
<path d="M7 2L15 10M15 2L7 10" stroke="currentColor" stroke-width="2.5"/>
{% else %}<rect x="2" y="1" width="18" height="10" rx="2" fill="currentColor"/>
{% endif %}</svg>
{% endmacro %}
{% macro legend(plot) %}
{% if plot.keys %}
<ul class="keys">
{% for key in plot.keys %}<li>{{ mark(key) }}<span>{{ key.name }}</span></li>
{% endfor %}
</ul>
{% endif %}
{% if plot.scale %}
<p class="scale"><span>{{ plot.scale.low }}</span>\
<i class="{{ plot.scale.kind }}" aria-hidden="true"></i><span>{{ plot.scale.high }}</span></p>
{% endif %}
{% endmacro %}
{% macro plotted(plot, place) %}
<figure>
<figcaption><strong>{{ plot.title }}</strong> <span class="note">{{ plot.note }}</span></figcaption>
{{ legend(plot) }}
<label class="panels" hidden>Show <select autocomplete="off"></select></label>
<div class="plot" role="img" aria-label="{{ plot.title }}" data-place="{{ place }}"></div>
</figure>
{% endmacro %}
{% macro cells(table) %}
<div class="scroll" tabindex="0" role="region" \
aria-label="{{ table.title or table.head|join(', ') }}">
<table>
<thead><tr>{% for cell in table.head %}\
<th scope="col"{% if loop.index0 >= table.texts %} class="number"{% endif %}>{{ cell }}</th>\
{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for cell in row %}\
<td{% if loop.index0 >= table.texts %} class="number"{% endif %}>{{ cell }}</td>\
{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
{% macro lines(items) %}
<dl>{% for label, text, colour in items %}\
<div><dt style="color: var(--{{ colour }})">{{ label }}</dt><dd>{{ text }}</dd></div>
{% endfor %}</dl>
{% endmacro %}
{% macro terms(facts) %}
<dl>{% for term, text in facts %}<div><dt>{{ term }}</dt><dd>{{ text }}</dd></div>
{% endfor %}</dl>
{% endmacro %}
<div class="page">
<nav aria-label="Contents"><ul>
{% for section, blocks in sections %}
<li><a href="#{{ section.key }}">{{ section.title }}</a></li>
{% endfor %}
</ul></nav>
<main>
<header>
<h1>{{ title }}</h1>
{% if lead %}<p class="lead">{{ lead }}</p>{% endif %}
{% for note in notes %}<p class="warning" role="note">{{ note }}</p>
{% endfor %}
<noscript><p class="warning">Plots need JavaScript; everything else is shown.</p></noscript>
</header>
{% for section, blocks in sections %}
<section id="{{ section.key }}" aria-labelledby="{{ section.key }}-title">
<h2 id="{{ section.key }}-title">{{ section.title }}</h2>
{% if section.lead %}<p class="lead">{{ section.lead }}</p>{% endif %}
<div class="blocks">
{% for kind, block, place in blocks %}
<div class="block {{ kind }}{% if block.half %} half{% endif %}">
{% if kind == "prose" %}
{% for paragraph in block.paragraphs %}
<p{% if block.warning %} class="warning" role="note"{% endif %}>{{ paragraph }}</p>
{% endfor %}
{% elif kind == "cards" %}
<ul>
{% for card in block.cards %}
<li style="border-color: var(--{{ card.accent }})"><span class="label">{{ card.label }}</span>
<strong>{{ card.value }}</strong>{% if card.detail %}<span class="detail">{{ card.detail }}</span>\
{% endif %}</li>
{% endfor %}
</ul>
{% elif kind == "table" or kind == "facts" %}
{% if block.folded %}<details><summary>{{ block.title }}</summary>
{% elif block.title %}<h3>{{ block.title }}</h3>
{% endif %}
{% if kind == "table" %}{{ cells(block) }}{% else %}{{ terms(block.facts) }}{% endif %}
{% if block.folded %}</details>{% endif %}
{% elif kind == "code" %}
{% if block.title %}<h3>{{ block.title }}</h3>{% endif %}
<pre><code>{{ block.text }}</code></pre>
{% elif kind == "pictures" %}
{% if block.title %}<h3>{{ block.title }}</h3>{% endif %}
<ul>
{% for picture in block.pictures %}
<li>{% if picture.png %}<img alt="{{ picture.title }}" \
src="data:image/png;base64,{{ picture.png }}">
{% endif %}<div><strong>{{ picture.title }}</strong>
{{ lines(picture.lines) }}</div></li>
{% endfor %}
</ul>
{% elif kind == "gallery" %}
<label class="chooser">{{ block.label }} <select class="gallery" data-place="{{ place }}" \
autocomplete="off">
{% for name, plot in block.figures %}
<option value="{{ loop.index0 }}"{% if loop.index0 == block.first %} selected{% endif %}>\
{{ name }}</option>
{% endfor %}
</select></label>
<p class="chosen" aria-live="polite"></p>
{{ plotted(block.figures[block.first][1], place) }}
{% else %}
{{ plotted(block, place) }}
{% endif %}
</div>
{% endfor %}
</div>
</section>
{% endfor %}
<footer><p>Made by AutoComp. This file holds everything that it shows and asks no server.</p>
</footer>
</main>
</div>
<script type="application/json" id="plots">{{ data }}</script>
{% for script in scripts %}<script>{{ script }}</script>
{% endfor %}
</body>
</html>
"""
