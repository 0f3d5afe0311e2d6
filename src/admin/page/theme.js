// Light or dark, before anything is painted. A plain script, since modules run later.
'use strict';
{
  const KEY = 'weir-theme';
  const root = document.documentElement;
  const read = () => {
    try {
      return localStorage.getItem(KEY) ?? 'auto';
    } catch {
      return 'auto'; // storage is forbidden: the choice lasts as long as the page
    }
  };
  root.dataset.theme = read();
  document.addEventListener('DOMContentLoaded', () => {
    const chosen = document.querySelector(`#themes input[value="${root.dataset.theme}"]`);
    (chosen ?? document.querySelector('#themes input')).checked = true;
    document.getElementById('themes').addEventListener('change', (event) => {
      root.dataset.theme = event.target.value;
      try {
        localStorage.setItem(KEY, event.target.value);
      } catch {
        // As above.
      }
      document.dispatchEvent(new Event('weir-theme'));
    });
  });
}
