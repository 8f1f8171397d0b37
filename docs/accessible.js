// What the theme leaves out for those who use a keyboard or a screen reader: the search has a name, and what scrolls
// sideways can be reached. Code and tables get their wraps after the page has loaded.
const label = () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelectorAll("pre > code, .md-typeset__scrollwrap").forEach((part) => part.setAttribute("tabindex", "0"));
};
label();
new MutationObserver(label).observe(document.body, {childList: true, subtree: true});
