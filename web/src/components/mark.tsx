/** The sign of Da Vinci: circle and square around one centre. */
export function Mark({ className = "size-6" }: { className?: string }) {
  return (
    <svg viewBox="0 0 32 32" className={className} aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="#27408b" />
      <g fill="none" stroke="#fff" strokeWidth="1.8">
        <circle cx="16" cy="16" r="10" />
        <path d="M8.9 8.9h14.2v14.2H8.9z" />
      </g>
      <circle cx="16" cy="16" r="2.4" fill="#fff" />
    </svg>
  );
}
