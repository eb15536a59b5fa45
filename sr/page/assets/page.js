"use strict";
(() => {
  // Sortable tables: the first click sorts upward, the next one downward; cells without a value stay last.
  const collator = new Intl.Collator("en", { numeric: true });

  function sortTable(table, column, isDescending) {
    const isNumber = table.tHead.rows[0].cells[column].classList.contains("number");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, value: row.cells[column].dataset.sort }));
    rows.sort((a, b) => {
      if (a.value === undefined || b.value === undefined) return (a.value === undefined) - (b.value === undefined);
      const order = isNumber ? a.value - b.value : collator.compare(a.value, b.value);
      return isDescending ? -order : order;
    });
    body.append(...rows.map(({ row }) => row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const cells = [...table.tHead.rows[0].cells];
    for (const [column, cell] of cells.entries()) {
      cell.querySelector("button").addEventListener("click", () => {
        const isDescending = cell.getAttribute("aria-sort") === "ascending";
        for (const other of cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
        sortTable(table, column, isDescending);
      });
    }
  }

  // Relative links lead to files next to this one, which a frame made of a blob cannot reach.
  if (!/^(file|https?):$/.test(location.protocol)) {
    for (const link of document.querySelectorAll("a[href]")) {
      if (!/^(#|[a-z][a-z0-9+.-]*:)/i.test(link.getAttribute("href"))) link.replaceWith(...link.childNodes);
    }
  }

  // Copy buttons. A sandboxed frame may have no clipboard: then the text is selected.
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      let isCopied = false;
      try {
        await navigator.clipboard.writeText(code.textContent);
        isCopied = true;
      } catch {
        getSelection().selectAllChildren(code);
        isCopied = document.execCommand("copy");
      }
      button.textContent = isCopied ? "Copied" : "Selected";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
})();
